"""URLs signed by S3, used by a plain client; those of a folder are in tests/web/test_files.py."""

import hashlib
import json

import httpx2
import pytest

from sidelane import ArgumentsError, FileTooLarge, UnknownFile, WrongFileType
from sidelane.files import references
from sidelane.files.files import Files
from tests.files.conftest import everything

WAV = b"RIFF\x24\x00\x00\x00WAVEfmt " + b"\x00" * 1000

in_s3 = pytest.mark.parametrize("location", ["s3"], indirect=True)


@in_s3
async def test_file_in_s3_is_downloaded_by_its_url(files: Files) -> None:
    file = await files.save(WAV, name="말하기 1.wav")
    async with httpx2.AsyncClient() as client:
        answer = await client.get(await file.url(expires=60))
        part = await client.get(await file.url(), headers={"Range": "bytes=0-3"})
    assert (answer.content, answer.headers["content-type"]) == (WAV, "audio/wav")
    assert answer.headers["content-disposition"].startswith("attachment; filename*=UTF-8''%EB%A7%90")
    assert part.content == b"RIFF"


@in_s3
async def test_direct_upload_is_checked_afterwards(files: Files) -> None:
    upload = await files.upload_url(name="a.wav", type="audio/wav", types=("audio/*",), max_bytes=5000)
    with pytest.raises(UnknownFile):
        await files.uploaded(upload.id)
    async with httpx2.AsyncClient() as client:
        put = await client.request(upload.method, upload.url, headers=upload.headers, content=WAV)
        assert put.status_code == 200
        file = await files.uploaded(upload.id)
        # whoever has the link still cannot change what was checked
        await client.request(upload.method, upload.url, headers=upload.headers, content=b"something else")
    assert file.model_dump() == {
        "file": upload.id, "name": "a.wav", "type": "audio/wav", "bytes": len(WAV),
        "sha256": hashlib.sha256(WAV).hexdigest(),
    }  # fmt: skip
    assert await files.uploaded(upload.id) == file
    assert await file.read() == WAV
    await files.references.remove(holds_key(file.id))
    assert await everything(files) == []


@in_s3
@pytest.mark.parametrize("content", [b"x" * 5001, b"<html>"], ids=["too large", "of another type"])
async def test_direct_upload_that_fails_its_check_is_removed(files: Files, content: bytes) -> None:
    upload = await files.upload_url(name="a.wav", type="audio/wav", types=("audio/*",), max_bytes=5000)
    async with httpx2.AsyncClient() as client:
        await client.put(upload.url, content=content)
    with pytest.raises((FileTooLarge, WrongFileType)):
        await files.uploaded(upload.id)
    assert await everything(files) == []
    with pytest.raises(UnknownFile):
        await files.uploaded(upload.id)


async def test_unexpected_upload_is_unknown(files: Files) -> None:
    for unknown in ("sidelane-file:" + "0" * 32, "nonsense", "../../note"):
        with pytest.raises(UnknownFile):
            await files.uploaded(unknown)


async def test_lifetime_of_a_url_is_bounded(files: Files) -> None:
    file = await files.save(b"x")
    for seconds in (0, -1, 8 * references.DAY, float("nan")):
        with pytest.raises(ArgumentsError, match="is valid for more than 0"):
            await file.url(expires=seconds)
    with pytest.raises(ArgumentsError, match="media type"):
        await files.upload_url(name="x", type="no type")


async def test_file_that_is_no_text_is_not_read_as_one(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    sound = await files.save(b"\xff\xfe")
    with pytest.raises(UnknownFile, match="not text"):
        await files.get_text(f"#{sound.id}")
    monkeypatch.setattr("sidelane.files.files.MAX_TEXT_SIZE", 1)
    with pytest.raises(UnknownFile):
        await files.get_text(f"#{sound.id}")


async def test_large_text_is_saved_under_a_link_that_cannot_be_guessed(files: Files) -> None:
    text = json.dumps({"말": "하기" * 100_000})
    link = await files.put_text(text, name="offer.json")
    assert await files.get_text(link) == text
    if files.objects.folder is None:
        async with httpx2.AsyncClient() as client:
            assert (await client.get(link)).text == text
    for wrong in ("https://169.254.169.254/latest/meta-data", link.partition("#")[0], "#sidelane-file:" + "0" * 32):
        with pytest.raises(UnknownFile):
            await files.get_text(wrong)


def holds_key(file_id: str) -> str:
    return file_id.rpartition(":")[2]
