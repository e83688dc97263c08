"""Alerts: each finding that lasts is sent once to an address outside, and once more when it is over."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sidelane.admin.findings.alert_text import alert_body, format_of
from sidelane.admin.findings.finding import Finding, digest
from sidelane.admin.findings.memory import AlertState, Memory, SentAlert
from sidelane.callbacks.http_client import NotDelivered, WebhookClient
from sidelane.callbacks.ssrf import AddressPolicy, AddressRefused
from sidelane.callbacks.url import parse_url
from sidelane.model.errors import ArgumentsError, MissingExtra
from sidelane.model.settings import Settings

RETRY_DELAYS = (5.0, 30.0, 120.0, 600.0, 1800.0)
"""Seconds until the next try of a message. After the last try it is given up."""

UNDELIVERED = "alerts"
"""The key of the finding that alerts do not arrive, which no alert can tell."""

MAX_SENTENCE = 300
"""Characters of a sentence that are kept until the finding is over."""

INVALID = "SIDELANE_ALERT_URL is not a URL that can be posted to"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Changes:
    """What is not sent yet: findings that have lasted, and the sentences of those that are over, by key."""

    started: Sequence[Finding] = ()
    over: Mapping[str, str] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.started or self.over)


def with_receiver(state: AlertState, receiver: str) -> AlertState:
    """Return the state without the errors of another receiver."""
    return state if state.receiver == receiver else AlertState(sent=state.sent, receiver=receiver)


def with_ends(state: AlertState, findings: Sequence[Finding], now: float) -> AlertState:
    """Return the state in which each sent alert has the time since when its finding is over."""
    keys = {finding.key for finding in findings}
    sent = {
        key: replace(alert, gone=None if key in keys else now if alert.gone is None else alert.gone)
        for key, alert in state.sent.items()
    }
    return replace(state, sent=sent)


def changes(memory: Memory, findings: Sequence[Finding], now: float, after: float) -> Changes:
    """Return what to send: findings that have been there for `after` seconds, and sent ones that have been over for as long."""
    sent = memory.alerts.sent
    started = [
        each
        for each in findings
        if each.key not in sent
        and each.key != UNDELIVERED
        and each.muted_until is None
        and now - memory.seen[each.key] >= after
    ]
    over = {key: alert.sentence for key, alert in sent.items() if alert.gone is not None and now - alert.gone >= after}
    return Changes(started, over)


def after_try(state: AlertState, sent: Changes, error: str, now: float) -> AlertState:
    """Return the state after a message was delivered, or was not because of `error`. The last try counts as a delivery."""
    failed = state.failed + 1 if error else 0
    if 0 < failed <= len(RETRY_DELAYS):
        return replace(state, sending="", failed=failed, retry_at=now + RETRY_DELAYS[failed - 1], error=error)
    kept = {key: alert for key, alert in state.sent.items() if key not in sent.over}
    new = {each.key: SentAlert(sentence=str(each.sentence)[:MAX_SENTENCE]) for each in sent.started}
    return AlertState(sent={**kept, **new}, receiver=state.receiver, error=error)


class AlertSender:
    """Sends alerts to the address in the settings, by the rules for callbacks: no private address, no redirect, 15 seconds."""

    def __init__(self, settings: Settings) -> None:
        self.after = settings.alert_after
        self.receiver = digest(settings.alert_url)
        self._url = settings.alert_url
        self._format = settings.alert_format
        self._webhooks = WebhookClient(alert_policy(settings))

    async def send(self, message_id: str, sent: Changes, now: float) -> str:
        """Send one message, and return why it was not delivered, or "". The text has neither path nor query of the address."""
        try:
            receiver = parse_url(self._url)
        except ArgumentsError:
            return INVALID
        body = alert_body(format_of(self._format, receiver.host), message_id, sent.started, sent.over, now)
        try:
            await self._webhooks.deliver(self._url, body.encode(), {"Content-Type": "application/json"})
        except NotDelivered as error:
            if error.response is not None:
                return f"{receiver.authority} answered {error.response}"
            return str(error).replace(receiver.redacted, receiver.authority)
        except (AddressRefused, MissingExtra) as error:
            return str(error)
        return ""

    async def close(self) -> None:
        """Close all connections."""
        await self._webhooks.close()


def alert_policy(settings: Settings) -> AddressPolicy:
    """Return the addresses that alerts may reach. The operator names the host, so `callback_hosts` does not count."""
    return AddressPolicy(private=settings.allow_private_callbacks)


def log_error(before: str, error: str) -> None:
    """Log once that alerts do not arrive, and once that they arrive again."""
    if error and error != before:
        logger.warning("alerts do not arrive: %s", error)
    elif before and not error:
        logger.info("alerts arrive again")
