"""A cluster of Redis or Valkey meets the store contract.

The scripts are those of one server, which the whole suite holds there. Here each verb runs, for a key without the hash tag is
an error, and so does all that hangs on connections and hints. `-m soak` runs the whole suite.
"""

import secrets
from collections.abc import Iterator

import pytest

from sidelane.conformance.stores.batches import BatchEnds, Batching, BatchRetention
from sidelane.conformance.stores.blocked_jobs import Parking
from sidelane.conformance.stores.cancelling import Cancelling, Requeueing
from sidelane.conformance.stores.chains import Cascades
from sidelane.conformance.stores.connections import Connections, Handing, Races
from sidelane.conformance.stores.contention import Contention
from sidelane.conformance.stores.external_tasks import HandingOver, Outside, Unwanted
from sidelane.conformance.stores.finishing import Ending, FollowUps
from sidelane.conformance.stores.fixtures import UrlStoreFactory
from sidelane.conformance.stores.limits_replace import Replacing
from sidelane.conformance.stores.notifications import Waking, Watching
from sidelane.conformance.stores.queries import AtAGlance, Finding, Position
from sidelane.conformance.stores.rates import Spreading
from sidelane.conformance.stores.removal import NothingLeft, Removing
from sidelane.conformance.stores.schedules import Firings, Scheduling
from sidelane.conformance.stores.submitting import Submitting, Unique
from sidelane.conformance.stores.suite import Conformance
from sidelane.conformance.stores.tombstones import AfterRemoval
from sidelane.conformance.stores.worker_losses import DeadWorkers
from tests.contract.groups import Cluster, running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(Cluster("valkey", tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


@pytest.fixture
def place(cluster: Cluster) -> UrlStoreFactory:
    """One store a test, each on one node of the three."""
    return UrlStoreFactory(cluster.url(name=secrets.token_hex(8)))


@pytest.mark.long
class TestCluster(
    Submitting,
    Unique,
    Watching,
    Waking,
    Ending,
    FollowUps,
    Cancelling,
    Requeueing,
    DeadWorkers,
    HandingOver,
    Outside,
    Unwanted,
    Parking,
    Replacing,
    Spreading,
    Batching,
    BatchEnds,
    BatchRetention,
    Scheduling,
    Firings,
    Cascades,
    Removing,
    NothingLeft,
    AfterRemoval,
    Finding,
    Position,
    AtAGlance,
    Connections,
    Handing,
    Races,
    Contention,
):
    """Every verb, and all that is another thing in a cluster."""


@pytest.mark.soak
class TestWholeSuite(Conformance):
    """The rest."""
