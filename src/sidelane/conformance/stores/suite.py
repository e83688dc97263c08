"""The complete suite. To test a store, inherit `Conformance` and define the fixture `factory`."""

from sidelane.conformance.stores.backpressure import BackPressure, Throughput
from sidelane.conformance.stores.batches import BatchCompletion, BatchMembers, BatchRetention
from sidelane.conformance.stores.blocked_jobs import BlockedJobs, CallsOnBlockedJobs, UnblockedJobs
from sidelane.conformance.stores.cancelling import Cancellation, Requeue
from sidelane.conformance.stores.chains import CascadingCancellation
from sidelane.conformance.stores.claiming import Claims, DelayedJobs
from sidelane.conformance.stores.clock_jumps import ClockJumps
from sidelane.conformance.stores.connections import ConcurrentCalls, Connections, WorkerWakeups
from sidelane.conformance.stores.contention import Contention
from sidelane.conformance.stores.deadlines import AbandonedJobs, Deadlines
from sidelane.conformance.stores.event_log import AppendOrdinals, EventLog, LogReaders, LogSize, NewestEvents
from sidelane.conformance.stores.external_tasks import (
    Dispatching,
    ExternalJobCancellation,
    ExternalJobs,
    ExternalJobTimeout,
)
from sidelane.conformance.stores.fairness import Fairness
from sidelane.conformance.stores.finishing import AttemptOutcomes, FollowUps
from sidelane.conformance.stores.leases import Fencing, LeaseExpiry
from sidelane.conformance.stores.limit_release import SharedLimits, SlotRelease
from sidelane.conformance.stores.limits_reject import RejectingLimitRelease, RejectingLimits
from sidelane.conformance.stores.limits_replace import ReplacingLimits
from sidelane.conformance.stores.maintenance import DatabaseCare
from sidelane.conformance.stores.notifications import Notifications, SubscriptionWaits
from sidelane.conformance.stores.processes import Processes
from sidelane.conformance.stores.queries import JobQueries, QueuePositions, Statistics
from sidelane.conformance.stores.rates import StartRates, SubmitRates
from sidelane.conformance.stores.removal import NoLeftovers, Removal, RequeueWithArguments
from sidelane.conformance.stores.repeated_calls import RepeatedClaims, RepeatedFinishes, RepeatedWrites
from sidelane.conformance.stores.retention import Retention
from sidelane.conformance.stores.schedules import ScheduleDefinitions, ScheduleTicks
from sidelane.conformance.stores.submitting import ChunkedCalls, Submits, UniqueKeys
from sidelane.conformance.stores.tombstones import IdRetention, RemovalFollowUps
from sidelane.conformance.stores.worker_losses import DeadWorkers, Isolation, WorkerLosses


class OneConnection(
    Submits,
    UniqueKeys,
    ChunkedCalls,
    Claims,
    DelayedJobs,
    Fairness,
    Fencing,
    LeaseExpiry,
    WorkerLosses,
    DeadWorkers,
    Isolation,
    ClockJumps,
    Deadlines,
    AbandonedJobs,
    EventLog,
    LogReaders,
    NewestEvents,
    AppendOrdinals,
    LogSize,
    AttemptOutcomes,
    FollowUps,
    Cancellation,
    Requeue,
    Retention,
    Notifications,
    SubscriptionWaits,
    RejectingLimits,
    RejectingLimitRelease,
    BlockedJobs,
    UnblockedJobs,
    CallsOnBlockedJobs,
    SlotRelease,
    SharedLimits,
    ReplacingLimits,
    SubmitRates,
    StartRates,
    BackPressure,
    Throughput,
    BatchMembers,
    BatchCompletion,
    BatchRetention,
    ScheduleDefinitions,
    ScheduleTicks,
    CascadingCancellation,
    Removal,
    RequeueWithArguments,
    RemovalFollowUps,
    IdRetention,
    NoLeftovers,
    Dispatching,
    ExternalJobs,
    ExternalJobCancellation,
    ExternalJobTimeout,
    RepeatedClaims,
    RepeatedFinishes,
    RepeatedWrites,
    JobQueries,
    QueuePositions,
    Statistics,
    DatabaseCare,
):
    """The tests that a store must pass even if each connection has its own database."""


class Conformance(OneConnection, Connections, WorkerWakeups, ConcurrentCalls, Contention, Processes):
    """The complete store contract."""
