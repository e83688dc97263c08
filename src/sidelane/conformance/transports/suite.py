"""The complete suite. To test a transport, inherit it and define the fixture `factory`."""

from sidelane.conformance.transports.dead_letters import DeadLettering
from sidelane.conformance.transports.ordering import MessageGroups
from sidelane.conformance.transports.sending import SendErrors, Sends
from sidelane.conformance.transports.visibility import CompetingReceivers, ReceiverShutdown, VisibilityTimeouts


class TransportConformance(
    Sends, VisibilityTimeouts, ReceiverShutdown, CompetingReceivers, MessageGroups, DeadLettering, SendErrors
):
    """The complete transport contract."""
