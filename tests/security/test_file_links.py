"""Links to files: whatever a token holds, it opens only a file that was saved, and everything else is a 404."""

import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fastapi import FastAPI

from sidelane import Sidelane
from sidelane.files.files import URL_KEY
from sidelane.files.signed_urls import PREFIX
from sidelane.model.signing import encode_base64url, sign
from sidelane.web import Jobs

FORGED = ["x", "a.b", ".", "a.", ".b", "é.é", "%00.%00", "%ff.%ff", "a" * 5000, "YQ.YQ", "[" * 3000 + ".x"]

GRANT = {"verb": "GET", "file": "0" * 32, "name": "a.txt", "type": "text/plain", "until": 9e12, "max_bytes": None}
SIGNED: list[Any] = [
    *(
        {**GRANT, "file": file}
        for file in ("../jobs.db", "/etc/passwd", "..", "", "a\x00b", "0" * 31, "0" * 32 + "/", 7)
    ),
    {**GRANT, "until": "tomorrow"},
    {**GRANT, "until": None},
    {**GRANT, "verb": "DELETE"},
    {**GRANT, "unknown": 1},
    {"file": "0" * 32},
    {},
    [],
    None,
    "text",
]


@pytest.fixture
async def scenario(tmp_path: Path) -> AsyncIterator[tuple[Sidelane, httpx2.AsyncClient]]:
    """A lane with files in a folder, and a client of its application."""
    lane = Sidelane(store=f"sqlite:///{tmp_path}/jobs.db", settings={"file_storage": str(tmp_path / "files")})
    app = FastAPI()
    app.include_router(Jobs(lane, user=None).files, prefix="/files")
    transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
    async with lane.open(), httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        yield lane, client


async def status_of(client: httpx2.AsyncClient, token: str) -> set[int]:
    answers = [await client.request(verb, f"/files/{token}", content=b"x") for verb in ("GET", "PUT")]
    return {answer.status_code for answer in answers}


async def test_forged_link_is_404(scenario: tuple[Sidelane, httpx2.AsyncClient]) -> None:
    _, client = scenario
    for token in FORGED:
        assert await status_of(client, token) == {404}, token


async def test_changed_link_is_404(scenario: tuple[Sidelane, httpx2.AsyncClient]) -> None:
    lane, client = scenario
    link = await (await lane.files.save(b"content", name="a.txt")).url()
    assert (await client.get(link)).content == b"content"
    token = link.rpartition("/")[2]
    text, _, signature = token.partition(".")
    for changed in (f"{text}A.{signature}", f"{text}.{signature}A", f"{text}.{signature[:-1]}", f"{signature}.{text}"):
        assert await status_of(client, changed) == {404}


async def test_signed_link_of_another_shape_is_404(scenario: tuple[Sidelane, httpx2.AsyncClient]) -> None:
    lane, client = scenario
    await lane.files.save(b"content", name="a.txt")
    key = await lane.client.key(URL_KEY)
    for content in (*(json.dumps(grant).encode() for grant in SIGNED), b"{", b"\xff", b"[" * 3000, b""):
        text = encode_base64url(content)
        assert await status_of(client, f"{text}.{sign(key, PREFIX + text)}") == {404}, content


async def test_expired_link_is_404(
    scenario: tuple[Sidelane, httpx2.AsyncClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    lane, client = scenario
    link = await (await lane.files.save(b"content", name="a.txt")).url(10)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 11)
    assert (await client.get(link)).status_code == 404
