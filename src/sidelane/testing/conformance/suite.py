"""The suite put together: inherit it, bring a `place`, and a store is tested."""

from sidelane.testing.conformance.after_removal import AfterRemoval, Remembered
from sidelane.testing.conformance.backpressure import BackPressure, Pace
from sidelane.testing.conformance.batches import BatchEnds, Batching, BatchRetention
from sidelane.testing.conformance.cancelling import Cancelling, Requeueing
from sidelane.testing.conformance.chains import Cascades
from sidelane.testing.conformance.claiming import Claiming, Waiting
from sidelane.testing.conformance.connections import Connections, Handing, Races
from sidelane.testing.conformance.contention import Contention
from sidelane.testing.conformance.deadlines import Abandoning, Deadlines
from sidelane.testing.conformance.ending import Ending, FollowUps
from sidelane.testing.conformance.fairness import Fairness
from sidelane.testing.conformance.finding import AtAGlance, Finding, Position
from sidelane.testing.conformance.handing_over import HandingOver, Outside, Unanswered, Unwanted
from sidelane.testing.conformance.leases import Expiry, Fencing
from sidelane.testing.conformance.leaving import Leaving, Sharing
from sidelane.testing.conformance.logs import Log, Ordinals, Reading
from sidelane.testing.conformance.losses import DeadWorkers, Isolation, Losses
from sidelane.testing.conformance.parking import Parking, WhileParked, Woken
from sidelane.testing.conformance.processes import Processes
from sidelane.testing.conformance.rates import Rates, Spreading
from sidelane.testing.conformance.rejecting import Rejecting, RejectingEnds
from sidelane.testing.conformance.removing import NothingLeft, Removing, Rewriting
from sidelane.testing.conformance.repeating import RepeatedClaims, RepeatedFinishes, RepeatedWrites
from sidelane.testing.conformance.replacing import Replacing
from sidelane.testing.conformance.retention import Retention
from sidelane.testing.conformance.scheduling import Firings, Scheduling
from sidelane.testing.conformance.submitting import Pieces, Submitting, Unique
from sidelane.testing.conformance.timekeeping import Jumps
from sidelane.testing.conformance.watching import Waking, Watching


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
