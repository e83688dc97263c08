"""Redis and Valkey meet the store contract."""

import secrets

import pytest

from sidelane.conformance.stores.fixtures import UrlStoreFactory
from sidelane.conformance.stores.suite import Conformance
from tests.contract.servers import RunningServer


class TestRedis(Conformance):
    """One store per test, all on one server of each kind."""

    @pytest.fixture
    def factory(self, server: RunningServer) -> UrlStoreFactory:
        return UrlStoreFactory(server.url(name=secrets.token_hex(8)))
