"""Storage that cannot be used: each error says what is wrong and what to do."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sidelane import ConfigurationError, FilesUnavailable, Sidelane
from sidelane.files.files import Files


def files_in(location: str) -> Files:
    lane = Sidelane(store="sqlite://:memory:", settings={"file_storage": location})
    return lane.files


async def test_missing_bucket_is_named(bucket: str) -> None:
    missing = files_in(f"s3://{bucket}-not/kept")
    with pytest.raises(ConfigurationError, match="this bucket does not exist"):
        await missing.save(b"x" * 2_000_000)
    with pytest.raises(ConfigurationError, match="this bucket does not exist"):
        await missing.uploaded("sidelane-file:" + "0" * 32)
    with pytest.raises(ConfigurationError, match="this bucket does not exist"):
        await missing.references.files_of("job")


async def test_missing_credentials_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_METADATA_ENDPOINT", "http://127.0.0.1:1")  # no machine's role here
    with pytest.raises(ConfigurationError, match="AWS_ACCESS_KEY_ID"):
        await files_in("s3://some-bucket").save(b"x")


async def test_unreachable_storage_is_reported_soon(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    began = time.monotonic()
    with pytest.raises(FilesUnavailable, match="cannot be reached at the moment") as caught:
        await files_in(f"s3://{bucket}").save(b"x")
    assert caught.value.status == 503
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("location", ["ftp://host/path", "s3://"])
async def test_invalid_location_is_named(location: str) -> None:
    with pytest.raises(ConfigurationError, match="use a folder, s3://bucket/prefix or gs://"):
        await files_in(location).save(b"x")


async def test_location_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for place in (tmp_path / "file", tmp_path / "file" / "files"):
        with pytest.raises(ConfigurationError, match="SIDELANE_FILE_STORAGE"):
            await files_in(str(place)).save(b"x")


def test_full_disk_is_reported_and_leaves_nothing_behind(tmp_path: Path) -> None:
    program = f"""
import asyncio, resource, signal
from sidelane import FilesUnavailable, Sidelane
lane = Sidelane(store="sqlite://:memory:", settings={{"file_storage": {str(tmp_path / "files")!r}}})
resource.setrlimit(resource.RLIMIT_FSIZE, (2_000_000, 2_000_000))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
async def main():
    try:
        await lane.files.save(b"x" * 9_000_000)
    except FilesUnavailable as error:
        print(error)
asyncio.run(main())
"""
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60)
    assert "and it is full" in ended.stdout
    assert [path for path in (tmp_path / "files").rglob("*") if path.is_file()] == []


def test_folder_is_created_with_the_first_file(tmp_path: Path) -> None:
    Sidelane(store="sqlite://:memory:", settings={"file_storage": str(tmp_path / "files")})
    assert not (tmp_path / "files").exists()
