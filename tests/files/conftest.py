"""Lanes with files in a folder and in S3."""

import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from sidelane import Sidelane
from sidelane.files.files import Files
from tests.transports.moto import Moto

MakeLane = Callable[..., Sidelane]


@pytest.fixture
def bucket(moto: Moto, monkeypatch: pytest.MonkeyPatch) -> str:
    """A bucket of S3, which this process may use."""
    for name, value in moto.environment.items():
        monkeypatch.setenv(name, value)
    name = f"files-{uuid4().hex[:8]}"
    moto.bucket(name)
    return name


@pytest.fixture(params=["folder", "s3"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Location of files: each test runs with both."""
    if request.param == "folder":
        return str(tmp_path / "files")
    return f"s3://{request.getfixturevalue('bucket')}/kept/here"


@pytest.fixture
def make_lane(tmp_path: Path, location: str, monkeypatch: pytest.MonkeyPatch) -> MakeLane:
    """Make a lane on a new SQLite file; processes that tests start find the same places."""
    store = f"sqlite:///{tmp_path / 'jobs.db'}"
    monkeypatch.setenv("SIDELANE_STORE", store)
    monkeypatch.setenv("SIDELANE_FILE_STORAGE", location)

    def make(**settings: Any) -> Sidelane:
        return Sidelane(store=store, settings={"lease_duration": 2.0, "file_storage": location, **settings})

    return make


@pytest.fixture
def lane(make_lane: MakeLane) -> Sidelane:
    return make_lane()


@pytest.fixture
async def files(lane: Sidelane) -> AsyncIterator[Files]:
    """The files of an open lane."""
    async with lane.open():
        yield lane.files


async def everything(files: Files) -> list[str]:
    """List all that is there, temporary parts of a folder too."""
    if files.objects.folder is not None:
        found = [Path(place) / name for place, _, names in os.walk(files.objects.folder) for name in names]
        return sorted(str(path.relative_to(files.objects.folder)) for path in found)
    return sorted([found.path async for found in files.objects.list("")])
