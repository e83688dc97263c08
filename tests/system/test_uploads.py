"""Uploads pass through the API in constant memory. The benchmark `upload` does the same with 500 MB."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from benchmarks.uploading import uploading
from tests.transports.moto import Moto

MEGABYTES = 64
MOST = 20.0


@pytest.fixture
def moto(tmp_path: Path) -> Iterator[Moto]:
    running = Moto(tmp_path).start()
    yield running
    running.stop()


@pytest.mark.parametrize("where", ["folder", pytest.param("S3", marks=pytest.mark.soak)])
def test_upload_of_any_size_takes_little_memory(
    where: str, tmp_path: Path, request: pytest.FixtureRequest, record_property: Callable[[str, object], None]
) -> None:
    files, environment = str(tmp_path / "files"), {}
    if where == "S3":
        moto: Moto = request.getfixturevalue("moto")
        moto.bucket("uploads")
        files, environment = "s3://uploads", moto.environment
    with uploading(tmp_path, files, environment) as api:
        grown, _, _ = api.growth(MEGABYTES)
    record_property(f"memory of an upload of {MEGABYTES} MB, {where}", f"{grown:.1f} MB")
    assert grown <= MOST
