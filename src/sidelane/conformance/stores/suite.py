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
from sidelane.conformance.stores.finishing import AttemptOutcomes, FollowUps, UsageOfJobs
from sidelane.conformance.stores.history import HistoryOfAttempts, HistoryOfSubmits, HistoryOfUsage
from sidelane.conformance.stores.history_cells import DepthSamples, HistoryCells, HistorySeries, TopUsers
from sidelane.conformance.stores.history_waits import HistoryOfRuns, HistoryOfWaits
from sidelane.conformance.stores.journals import JournalCaps, JournalConnections, Journals
from sidelane.conformance.stores.leases import Fencing, LeaseExpiry
from sidelane.conformance.stores.limit_overrides import ChangedLimitConnections, ChangedRates, ChangedSlots
from sidelane.conformance.stores.limit_release import SharedLimits, SlotRelease
from sidelane.conformance.stores.limits_reject import RejectingLimitRelease, RejectingLimits
from sidelane.conformance.stores.limits_replace import ReplacingLimits
from sidelane.conformance.stores.log_records import LogRecords
from sidelane.conformance.stores.maintenance import DatabaseCare
from sidelane.conformance.stores.notifications import Notifications, SubscriptionWaits
from sidelane.conformance.stores.paused_batches import PausedBatches
from sidelane.conformance.stores.processes import Processes
from sidelane.conformance.stores.queries import JobQueries, QueuePositions, Statistics
from sidelane.conformance.stores.queue_waits import HeadWaits, RunningJobs, WaitingTasks
from sidelane.conformance.stores.rates import StartRates, SubmitRates
from sidelane.conformance.stores.removal import NoLeftovers, Removal, RequeueWithArguments
from sidelane.conformance.stores.repeated_calls import RepeatedClaims, RepeatedFinishes, RepeatedWrites
from sidelane.conformance.stores.retention import Retention
from sidelane.conformance.stores.schedules import ScheduleDefinitions, ScheduleTicks
from sidelane.conformance.stores.shared_values import (
    SharedValueConnections,
    SharedValueHints,
    SharedValueLists,
    SharedValues,
)
from sidelane.conformance.stores.submitting import ChunkedCalls, Submits, UniqueKeys
from sidelane.conformance.stores.tombstones import IdRetention, RemovalFollowUps
from sidelane.conformance.stores.transitions import EventTimes, Transitions
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
    LogRecords,
    AttemptOutcomes,
    UsageOfJobs,
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
    ChangedSlots,
    ChangedRates,
    SubmitRates,
    StartRates,
    BackPressure,
    Throughput,
    BatchMembers,
    BatchCompletion,
    BatchRetention,
    PausedBatches,
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
    SharedValues,
    SharedValueLists,
    SharedValueHints,
    Journals,
    JournalCaps,
    HistoryOfSubmits,
    HistoryOfAttempts,
    HistoryOfUsage,
    HistoryOfWaits,
    HistoryOfRuns,
    HistoryCells,
    HistorySeries,
    TopUsers,
    DepthSamples,
    Transitions,
    EventTimes,
    HeadWaits,
    WaitingTasks,
    RunningJobs,
):
    """The tests that a store must pass even if each connection has its own database."""


class Conformance(
    OneConnection,
    Connections,
    WorkerWakeups,
    ConcurrentCalls,
    SharedValueConnections,
    JournalConnections,
    ChangedLimitConnections,
    Contention,
    Processes,
):
    """The complete store contract."""
