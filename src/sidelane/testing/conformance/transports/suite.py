"""The suite put together: inherit it, bring a `place`, and a transport is tested."""

from sidelane.testing.conformance.transports.holding import Closing, Holding, Sharing
from sidelane.testing.conformance.transports.ordering import Ordering
from sidelane.testing.conformance.transports.rejecting import Rejecting
from sidelane.testing.conformance.transports.sending import Failing, Sending


class TransportConformance(Sending, Holding, Closing, Sharing, Ordering, Rejecting, Failing):
    """The whole contract of transports."""
