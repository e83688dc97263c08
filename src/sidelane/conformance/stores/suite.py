"""The suite put together: inherit it, bring a `place`, and a store is tested."""

from sidelane.conformance.stores.backpressure import BackPressure, Pace
from sidelane.conformance.stores.batches import BatchEnds, Batching, BatchRetention
from sidelane.conformance.stores.blocked_jobs import Parking, WhileParked, Woken
from sidelane.conformance.stores.cancelling import Cancelling, Requeueing
from sidelane.conformance.stores.chains import Cascades
from sidelane.conformance.stores.claiming import Claiming, Waiting
from sidelane.conformance.stores.clock_jumps import Jumps
from sidelane.conformance.stores.connections import Connections, Handing, Races
from sidelane.conformance.stores.contention import Contention
from sidelane.conformance.stores.deadlines import Abandoning, Deadlines
from sidelane.conformance.stores.event_log import Log, Ordinals, Reading
from sidelane.conformance.stores.external_tasks import HandingOver, Outside, Unanswered, Unwanted
from sidelane.conformance.stores.fairness import Fairness
from sidelane.conformance.stores.finishing import Ending, FollowUps
from sidelane.conformance.stores.leases import Expiry, Fencing
from sidelane.conformance.stores.limit_release import Leaving, Sharing
from sidelane.conformance.stores.limits_reject import Rejecting, RejectingEnds
from sidelane.conformance.stores.limits_replace import Replacing
from sidelane.conformance.stores.notifications import Waking, Watching
from sidelane.conformance.stores.processes import Processes
from sidelane.conformance.stores.queries import AtAGlance, Finding, Position
from sidelane.conformance.stores.rates import Rates, Spreading
from sidelane.conformance.stores.removal import NothingLeft, Removing, Rewriting
from sidelane.conformance.stores.repeated_calls import RepeatedClaims, RepeatedFinishes, RepeatedWrites
from sidelane.conformance.stores.retention import Retention
from sidelane.conformance.stores.schedules import Firings, Scheduling
from sidelane.conformance.stores.submitting import Pieces, Submitting, Unique
from sidelane.conformance.stores.tombstones import AfterRemoval, Remembered
from sidelane.conformance.stores.worker_losses import DeadWorkers, Isolation, Losses


class OneConnection(
    Submitting,
    Unique,
    Pieces,
    Claiming,
    Waiting,
    Fairness,
    Fencing,
    Expiry,
    Losses,
    DeadWorkers,
    Isolation,
    Jumps,
    Deadlines,
    Abandoning,
    Log,
    Reading,
    Ordinals,
    Ending,
    FollowUps,
    Cancelling,
    Requeueing,
    Retention,
    Watching,
    Waking,
    Rejecting,
    RejectingEnds,
    Parking,
    Woken,
    WhileParked,
    Leaving,
    Sharing,
    Replacing,
    Rates,
    Spreading,
    BackPressure,
    Pace,
    Batching,
    BatchEnds,
    BatchRetention,
    Scheduling,
    Firings,
    Cascades,
    Removing,
    Rewriting,
    AfterRemoval,
    Remembered,
    NothingLeft,
    HandingOver,
    Outside,
    Unwanted,
    Unanswered,
    RepeatedClaims,
    RepeatedFinishes,
    RepeatedWrites,
    Finding,
    Position,
    AtAGlance,
):
    """All that holds of a store even where each connection has a storage of its own."""


class Conformance(OneConnection, Connections, Handing, Races, Contention, Processes):
    """The whole contract."""
