"""SQLite meets the store contract, in a file and in memory."""

from pathlib import Path

import pytest

from sidelane.testing.conformance.place import UrlPlace
from sidelane.testing.conformance.suite import Conformance, OneConnection


class TestSqlite(Conformance):
    """In a file."""

    @pytest.fixture
    def place(self, tmp_path: Path) -> UrlPlace:
        return UrlPlace(f"sqlite:///{tmp_path}/jobs.db")


class TestSqliteInMemory(OneConnection):
    """In memory, where each connection has a database of its own."""

    @pytest.fixture
    def place(self) -> UrlPlace:
        return UrlPlace("sqlite://:memory:")
