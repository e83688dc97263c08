"""A cluster of Redis or Valkey meets the store contract.

The scripts are the same as on one server, where the whole suite runs. Here every script runs, because a key without the hash tag
is an error, and so do the tests of connections and hints. `-m soak` runs the whole suite.
"""

import secrets
from collections.abc import Iterator

import pytest

from sidelane.conformance.stores.batches import BatchCompletion, BatchMembers, BatchRetention
from sidelane.conformance.stores.blocked_jobs import BlockedJobs
from sidelane.conformance.stores.cancelling import Cancellation, Requeue
from sidelane.conformance.stores.chains import CascadingCancellation
from sidelane.conformance.stores.connections import ConcurrentCalls, Connections, WorkerWakeups
from sidelane.conformance.stores.contention import Contention
from sidelane.conformance.stores.external_tasks import Dispatching, ExternalJobCancellation, ExternalJobs
from sidelane.conformance.stores.finishing import AttemptOutcomes, FollowUps
from sidelane.conformance.stores.fixtures import UrlStoreFactory
from sidelane.conformance.stores.history import HistoryOfSubmits
from sidelane.conformance.stores.history_cells import DepthSamples, HistoryCells, TopUsers
from sidelane.conformance.stores.journals import JournalCaps, JournalConnections, Journals
from sidelane.conformance.stores.limits_replace import ReplacingLimits
from sidelane.conformance.stores.notifications import Notifications, SubscriptionWaits
from sidelane.conformance.stores.queries import JobQueries, QueuePositions, Statistics
from sidelane.conformance.stores.queue_waits import RunningJobs
from sidelane.conformance.stores.rates import StartRates
from sidelane.conformance.stores.removal import NoLeftovers, Removal
from sidelane.conformance.stores.schedules import ScheduleDefinitions, ScheduleTicks
from sidelane.conformance.stores.shared_values import (
    SharedValueConnections,
    SharedValueHints,
    SharedValueLists,
    SharedValues,
)
from sidelane.conformance.stores.submitting import Submits, UniqueKeys
from sidelane.conformance.stores.suite import Conformance
from sidelane.conformance.stores.tombstones import RemovalFollowUps
from sidelane.conformance.stores.worker_losses import DeadWorkers
from tests.contract.groups import Cluster, running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with running(Cluster("valkey", tmp_path_factory.mktemp("cluster"))) as cluster:
        yield cluster


@pytest.fixture
def factory(cluster: Cluster) -> UrlStoreFactory:
    """One store per test, on one of the three nodes."""
    return UrlStoreFactory(cluster.url(name=secrets.token_hex(8)))


@pytest.mark.long
class TestCluster(
    Submits,
    UniqueKeys,
    Notifications,
    SubscriptionWaits,
    AttemptOutcomes,
    FollowUps,
    Cancellation,
    Requeue,
    DeadWorkers,
    Dispatching,
    ExternalJobs,
    ExternalJobCancellation,
    BlockedJobs,
    ReplacingLimits,
    StartRates,
    BatchMembers,
    BatchCompletion,
    BatchRetention,
    ScheduleDefinitions,
    ScheduleTicks,
    CascadingCancellation,
    Removal,
    NoLeftovers,
    RemovalFollowUps,
    JobQueries,
    QueuePositions,
    Statistics,
    SharedValues,
    SharedValueLists,
    SharedValueHints,
    Journals,
    JournalCaps,
    HistoryOfSubmits,
    HistoryCells,
    DepthSamples,
    TopUsers,
    RunningJobs,
    Connections,
    WorkerWakeups,
    ConcurrentCalls,
    SharedValueConnections,
    JournalConnections,
    Contention,
):
    """Every script, and all that differs in a cluster."""


@pytest.mark.soak
class TestWholeSuite(Conformance):
    """The complete suite."""
