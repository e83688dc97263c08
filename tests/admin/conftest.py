"""Fixtures: a store on a file, and lanes that use it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'jobs.db'}"


@pytest.fixture
async def store(url: str) -> AsyncIterator[Store]:
    opened = await open_store(url)
    yield opened
    await opened.close()
