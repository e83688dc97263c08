"""The conformance suite on SQLite, in a file and in memory."""

from pathlib import Path

import pytest

from sidelane.conformance.stores.fixtures import UrlStoreFactory
from sidelane.conformance.stores.suite import Conformance, OneConnection


class TestSqlite(Conformance):
    """In a file."""

    @pytest.fixture
    def factory(self, tmp_path: Path) -> UrlStoreFactory:
        return UrlStoreFactory(f"sqlite:///{tmp_path}/jobs.db")


@pytest.mark.long  # the same code as with a file; `test_machine` compares it with the reference store in `make test`
class TestSqliteInMemory(OneConnection):
    """In memory, where each connection has its own database."""

    @pytest.fixture
    def factory(self) -> UrlStoreFactory:
        return UrlStoreFactory("sqlite://:memory:")
