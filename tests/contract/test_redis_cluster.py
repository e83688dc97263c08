"""A cluster of Redis or Valkey meets the store contract."""

import secrets
from collections.abc import Iterator

import pytest

from sidelane.testing.conformance.place import UrlPlace
from sidelane.testing.conformance.suite import Conformance
from tests.contract.groups import Cluster, running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(Cluster("valkey", tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


class TestCluster(Conformance):
    """One store a test, each on one node of the three."""

    @pytest.fixture
    def place(self, cluster: Cluster) -> UrlPlace:
        return UrlPlace(cluster.url(name=secrets.token_hex(8)))
