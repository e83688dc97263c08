"""Actions on findings: mute and unmute one, with a result that has a message."""

from collections.abc import Iterable

from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.findings.finding import Finding
from sidelane.admin.findings.mutes import mute, unmute
from sidelane.model.durations import duration_text
from sidelane.stores.contract import Store


async def mute_finding(store: Store, key: str, seconds: float, *, known: Iterable[Finding]) -> ActionResult:
    """Send no alerts of a finding for a while, and list it last. `known` are the findings of now."""
    keys = [each.key for each in known]
    if key not in keys:
        others = f"the keys are {', '.join(keys)}" if keys else "there is none"
        return ActionResult(key, Status.NOT_FOUND, f"no such finding; {others}")
    await mute(store, key, seconds)
    return ActionResult(key, Status.DONE, f"muted for {duration_text(seconds)}")


async def unmute_finding(store: Store, key: str) -> ActionResult:
    """Let a muted finding count again."""
    if await unmute(store, key):
        return ActionResult(key, Status.DONE, "unmuted")
    return ActionResult(key, Status.NOT_FOUND, "not muted")
