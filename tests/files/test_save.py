"""Saving files: from every supported type, counted, checked, hashed; errors leave nothing behind."""

import asyncio
import hashlib
import io
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.datastructures import Headers, UploadFile

from sidelane import ArgumentsError, File, FileTooLarge, WrongFileType
from sidelane.files.files import Files
from tests.files.conftest import everything
from tests.transports.moto import Moto

CONTENT = b"RIFF\x00\x00\x00\x00WAVE" + bytes(range(256)) * 10_000


async def pieces(content: bytes = CONTENT, size: int = 100_000) -> AsyncIterator[bytes]:
    for start in range(0, len(content), size):
        yield content[start : start + size]


def upload(content: bytes = CONTENT, name: str = "answer.wav", type_: str = "audio/wav") -> UploadFile:
    return UploadFile(io.BytesIO(content), filename=name, headers=Headers({"content-type": type_}))


@pytest.mark.parametrize(
    "source",
    [upload, lambda: CONTENT, lambda: io.BytesIO(CONTENT), pieces],
    ids=["an UploadFile", "bytes", "a binary file", "an async iterator"],
)
async def test_file_is_saved_from_every_supported_type(files: Files, source: Callable[[], Any]) -> None:
    file = await files.save(source(), name="answer.wav", type="audio/wav")
    assert file.model_dump() == {
        "file": file.id, "name": "answer.wav", "type": "audio/wav", "bytes": len(CONTENT),
        "sha256": hashlib.sha256(CONTENT).hexdigest(),
    }  # fmt: skip
    assert re.fullmatch("sidelane-file:[0-9a-f]{32}", file.id)
    assert await file.read() == CONTENT


async def test_file_is_saved_from_a_path(files: Files, tmp_path: Path) -> None:
    (tmp_path / "말하기.wav").write_bytes(CONTENT)
    file = await files.save(tmp_path / "말하기.wav")
    assert (file.name, file.type, await file.read()) == ("말하기.wav", "audio/wav", CONTENT)
    with pytest.raises(FileNotFoundError):
        await files.save(tmp_path / "missing.wav")


async def test_empty_file_is_saved(files: Files) -> None:
    file = await files.save(b"")
    assert (file.size, await file.read()) == (0, b"")
    async with file.path() as path:
        assert path.read_bytes() == b""


async def test_declared_name_and_type_are_sanitized(files: Files) -> None:
    file = await files.save(upload(b"x", name="../../etc/pass\x00wd\n", type_="text/html; charset=utf-8"))
    assert (file.name, file.type) == ("passwd", "text/html")
    file = await files.save(upload(b"x", name="C:\\music\\" + "a" * 300, type_="no type at all\r\nX: y"))
    assert (file.name, file.type) == ("a" * 255, "application/octet-stream")


async def test_file_over_the_limit_leaves_nothing_behind(files: Files) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1_000_000
            yield b"x" * 1_000_000

    with pytest.raises(FileTooLarge, match="more than 12,000,000 bytes") as caught:
        await files.save(endless(), max_bytes=12_000_000)
    assert caught.value.status == 413
    assert read <= 13_000_000  # it stopped where the limit was passed
    assert await everything(files) == []
    assert (await files.save(b"x" * 100, max_bytes=100)).size == 100


@pytest.mark.parametrize("how", ["it breaks", "it is cancelled"])
async def test_interrupted_upload_leaves_nothing_behind(files: Files, how: str) -> None:
    halfway = asyncio.Event()

    async def broken() -> AsyncIterator[bytes]:
        for _ in range(14):  # more than S3 takes in one part
            yield b"x" * 1_000_000
        halfway.set()
        if how == "it breaks":
            raise ConnectionResetError("the client is gone")
        await asyncio.Event().wait()

    saving = asyncio.create_task(files.save(broken()))
    await halfway.wait()
    if how == "it is cancelled":
        saving.cancel()
    with pytest.raises(ConnectionResetError if how == "it breaks" else asyncio.CancelledError):
        await saving
    assert await everything(files) == []


@pytest.mark.parametrize("location", ["s3"], indirect=True)
async def test_cancelled_upload_leaves_no_parts_in_s3(files: Files, bucket: str, moto: Moto) -> None:
    halfway = asyncio.Event()

    async def stuck() -> AsyncIterator[bytes]:
        for _ in range(14):
            yield b"x" * 1_000_000
        halfway.set()
        await asyncio.Event().wait()

    saving = asyncio.create_task(files.save(stuck()))
    await halfway.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert "<Upload>" not in httpx2.get(f"{moto.url}/{bucket}?uploads").text


async def test_type_that_is_not_accepted_is_refused(files: Files) -> None:
    with pytest.raises(WrongFileType, match=r"text/html; accepted are audio/wav, image/\*") as caught:
        await files.save(upload(b"<html>", type_="text/html"), types=("audio/wav", "image/*"))
    assert caught.value.status == 415
    with pytest.raises(WrongFileType, match="declared as audio/wav, but its first bytes do not"):
        await files.save(upload(b"<script>alert(1)</script>"), types=("audio/*",))
    with pytest.raises(WrongFileType, match="look like image/png"):
        await files.save(upload(b"\x89PNG\r\n\x1a\n...."), types=("audio/*",))
    assert await everything(files) == []


async def test_invalid_upload_is_refused(files: Files) -> None:
    with pytest.raises(ArgumentsError, match="dict: save accepts an UploadFile, bytes, a Path"):
        await files.save({"no": "upload"})  # type: ignore[arg-type]
    with pytest.raises(ArgumentsError, match="str: save accepts"):
        await files.save(__file__)  # type: ignore[arg-type]  # a form's text in place of a file must not read one of ours
    with pytest.raises(ArgumentsError, match="binary mode"):
        await files.save(io.StringIO("text"))  # type: ignore[arg-type]


async def test_concurrent_uploads_are_independent(files: Files) -> None:
    contents = [bytes([number]) * 3_000_000 for number in range(4)]
    saved: list[File] = await asyncio.gather(*(files.save(pieces(content)) for content in contents))
    assert [await file.read() for file in saved] == contents
