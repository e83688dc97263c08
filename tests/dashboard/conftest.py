"""Fixtures: a shop whose dashboard runs in uvicorn on this event loop, and Chromium with an open page."""

import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from playwright.async_api import BrowserContext, ConsoleMessage, Page, async_playwright

from tests.dashboard.shop import Shop, make_shop
from tests.web.clients import Server, run_server
from tests.web.conftest import store, valkey

__all__ = ["store", "valkey"]

BOTH_STORES = pytest.mark.parametrize(
    "store", ["sqlite", pytest.param("valkey", marks=pytest.mark.long)], indirect=True
)


MAX_WEIGHT = 200_000
"""Bytes of a page with all that it loads."""


@pytest.fixture
def shop(tmp_path: Path, store: str) -> Shop:
    return make_shop(tmp_path, store=store)


@pytest.fixture
async def server(shop: Shop) -> AsyncIterator[Server]:
    """The shop, served."""
    async with run_server(shop.app) as running:
        yield running


@dataclass
class Browser:
    """Chromium. `errors` are those of scripts, of the console, and of requests, which a test expects to be empty at its end."""

    context: BrowserContext
    url: str
    errors: list[str] = field(default_factory=list)

    async def open(self, path: str = "") -> Page:
        """Open a page of the dashboard."""
        page = await self.context.new_page()
        page.on("console", self._on_console)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        await page.goto(f"{self.url}/ops/{path}")
        return page

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(message.text)


async def weight(page: Page) -> int:
    """Return the bytes of a page and of what it loads to be shown. Streams and later requests for changes are left out."""
    sizes: list[int] = await page.evaluate(
        "[...performance.getEntriesByType('resource'), ...performance.getEntriesByType('navigation')]"
        ".filter(each => each.initiatorType !== 'fetch' && !/live$|stream/.test(each.name)).map(each => each.decodedBodySize)"
    )
    return sum(sizes)


@pytest.fixture
async def browser(server: Server) -> AsyncIterator[Browser]:
    """Chromium, 1280 pixels wide. Errors of its console fail the test."""
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Debian's chromium is not installed")
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        context = await chromium.new_context(viewport={"width": 1280, "height": 900}, locale="en-GB")
        browser = Browser(context, f"http://127.0.0.1:{server.port}")
        yield browser
        await chromium.close()
        assert browser.errors == []
