"""A cluster of Redis or Valkey meets the store contract.

The scripts are those of one server, which the whole suite holds there. Here each verb runs, for a key without the hash tag is
an error, and so does all that hangs on connections and hints. `-m soak` runs the whole suite.
"""

import secrets
from collections.abc import Iterator

import pytest

from sidelane.testing.conformance.after_removal import AfterRemoval
from sidelane.testing.conformance.batches import BatchEnds, Batching, BatchRetention
from sidelane.testing.conformance.cancelling import Cancelling, Requeueing
from sidelane.testing.conformance.chains import Cascades
from sidelane.testing.conformance.connections import Connections, Handing, Races
from sidelane.testing.conformance.contention import Contention
from sidelane.testing.conformance.ending import Ending, FollowUps
from sidelane.testing.conformance.finding import AtAGlance, Finding, Position
from sidelane.testing.conformance.handing_over import HandingOver, Outside, Unwanted
from sidelane.testing.conformance.losses import DeadWorkers
from sidelane.testing.conformance.parking import Parking
from sidelane.testing.conformance.place import UrlPlace
from sidelane.testing.conformance.rates import Spreading
from sidelane.testing.conformance.removing import NothingLeft, Removing
from sidelane.testing.conformance.replacing import Replacing
from sidelane.testing.conformance.scheduling import Firings, Scheduling
from sidelane.testing.conformance.submitting import Submitting, Unique
from sidelane.testing.conformance.suite import Conformance
from sidelane.testing.conformance.watching import Waking, Watching
from tests.contract.groups import Cluster, running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(Cluster("valkey", tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


@pytest.fixture
def place(cluster: Cluster) -> UrlPlace:
    """One store a test, each on one node of the three."""
    return UrlPlace(cluster.url(name=secrets.token_hex(8)))


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
