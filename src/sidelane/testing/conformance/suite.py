"""The suite put together: inherit it, bring a `place`, and a store is tested."""

from sidelane.testing.conformance.cancelling import Cancelling, Requeueing
from sidelane.testing.conformance.claiming import Claiming, Waiting
from sidelane.testing.conformance.connections import Connections, Handing, Races
from sidelane.testing.conformance.deadlines import Abandoning, Deadlines
from sidelane.testing.conformance.ending import Ending, FollowUps
from sidelane.testing.conformance.fairness import Fairness
from sidelane.testing.conformance.finding import AtAGlance, Finding, Position
from sidelane.testing.conformance.leases import Expiry, Fencing
from sidelane.testing.conformance.logs import Log, Ordinals, Reading
from sidelane.testing.conformance.losses import DeadWorkers, Losses, Suspects
from sidelane.testing.conformance.processes import Processes
from sidelane.testing.conformance.repeating import RepeatedClaims, RepeatedFinishes, RepeatedWrites
from sidelane.testing.conformance.retention import Retention
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
    Suspects,
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
    RepeatedClaims,
    RepeatedFinishes,
    RepeatedWrites,
    Finding,
    Position,
    AtAGlance,
):
    """All that holds of a store even where each connection has a storage of its own."""


class Conformance(OneConnection, Connections, Handing, Races, Processes):
    """The whole contract."""
