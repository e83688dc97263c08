"""Reading pages without a browser: their text, and the token of their forms."""

import re
from html import unescape

import httpx2

from tests.web.clients import Server


async def get(server: Server, path: str, **request: object) -> httpx2.Response:
    """Return a page of the dashboard."""
    response: httpx2.Response = await server.client.get(f"/ops/{path}", **request)  # type: ignore[arg-type]
    return response


def token_of(page: httpx2.Response) -> str:
    """Return the token of the forms of a page."""
    found = re.search(r'name="token" value="([^"]*)"', page.text)
    assert found, page.text
    return unescape(found[1])


def text_of(page: httpx2.Response) -> str:
    """Return the words of a page that people see."""
    without = re.sub(r"<(script|style|title)\b.*?</\1>", "", page.text, flags=re.DOTALL)
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", without)).split())


async def act(server: Server, path: str, page: httpx2.Response, **fields: str | list[str]) -> httpx2.Response:
    """Send a form of a page, as a browser would."""
    response: httpx2.Response = await server.client.post(
        f"/ops/{path}", data={"token": token_of(page), **fields}, headers={"Referer": str(page.url)}
    )
    return response
