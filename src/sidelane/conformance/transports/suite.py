"""The suite put together: inherit it, bring a `place`, and a transport is tested."""

from sidelane.conformance.transports.dead_letters import Rejecting
from sidelane.conformance.transports.ordering import Ordering
from sidelane.conformance.transports.sending import Failing, Sending
from sidelane.conformance.transports.visibility import Closing, Holding, Sharing


class TransportConformance(Sending, Holding, Closing, Sharing, Ordering, Rejecting, Failing):
    """The whole contract of transports."""
