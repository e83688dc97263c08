"""Actions on findings: mute and unmute one, with a result that has a message."""

from collections.abc import Iterable

from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.findings.finding import Finding
from sidelane.admin.findings.mutes import mute, unmute
from sidelane.model.durations import duration_text
from sidelane.model.sentence import sentence
from sidelane.stores.contract import Store


async def mute_finding(store: Store, key: str, seconds: float, *, known: Iterable[Finding]) -> ActionResult:
    """Send no alerts of a finding for a while, and list it last. `known` are the findings of now."""
    keys = [each.key for each in known]
    if key not in keys:
        unknown = sentence("no such finding; there is none")
        if keys:
            unknown = sentence("no such finding; the keys are {keys}", keys=", ".join(keys))
        return ActionResult(key, Status.NOT_FOUND, unknown)
    await mute(store, key, seconds)
    return ActionResult(key, Status.DONE, sentence("muted for {time}", time=duration_text(seconds)))


async def unmute_finding(store: Store, key: str) -> ActionResult:
    """Let a muted finding count again."""
    if await unmute(store, key):
        return ActionResult(key, Status.DONE, sentence("unmuted"))
    return ActionResult(key, Status.NOT_FOUND, sentence("not muted"))
