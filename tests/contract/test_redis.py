"""Redis and Valkey meet the store contract."""

import secrets

import pytest

from sidelane.testing.conformance.place import UrlPlace
from sidelane.testing.conformance.suite import Conformance
from tests.contract.servers import RunningServer


class TestRedis(Conformance):
    """One store a test, all on one server of each kind."""

    @pytest.fixture
    def place(self, server: RunningServer) -> UrlPlace:
        return UrlPlace(server.url(name=secrets.token_hex(8)))
