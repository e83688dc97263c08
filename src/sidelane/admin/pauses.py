"""Pauses as operators make and see them: of queues, tasks and batches, with a reason and an end."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.documents import Document, batch_document, time_text
from sidelane.client.pauses import Pause, pause_batch, pause_task, resume_batch, resume_task
from sidelane.model.durations import duration_text
from sidelane.model.job import MAX_TEXT
from sidelane.model.sentence import Sentence, sentence
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import without_internal

MAX_REASON: Final = 200
"""Characters of a reason that are kept."""

MAX_PAUSE: Final = 90 * 86_400.0
"""Seconds for which something may be paused, unless only a person resumes it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PauseRequest:
    """What an operator says about a pause: who, why, and for how many seconds (None: until an operator resumes it)."""

    by: str = ""
    reason: str = ""
    seconds: float | None = None

    def pause(self, now: float) -> Pause:
        """Return the pause that begins at `now`."""
        until = None if self.seconds is None else now + min(self.seconds, MAX_PAUSE)
        return Pause(by=self.by[:MAX_TEXT], reason=self.reason[:MAX_REASON], since=now, until=until)

    @property
    def paused(self) -> Sentence:
        """That something is paused, and for how long, if there is an end."""
        if self.seconds is None:
            return sentence("paused")
        return sentence("paused for {time}", time=duration_text(self.seconds))


NO_DETAILS: Final = PauseRequest()
"""A pause without a name, a reason and an end."""


def pause_text(pause: Pause | None, now: float) -> str:
    """Return who paused, why and for how long yet, e.g. "by ann, "SMTP moves", 46 min left"; "" if that is not known."""
    if pause is None:
        return ""
    parts = [f"by {pause.by}" if pause.by else "", f'"{pause.reason}"' if pause.reason else ""]
    parts.append("" if pause.until is None else f"{duration_text(max(0.0, pause.until - now))} left")
    return ", ".join(filter(None, parts))


def pause_document(pause: Pause | None) -> Document | None:
    """Return a pause as JSON, or None."""
    if pause is None:
        return None
    return {
        "by": pause.by or None,
        "reason": pause.reason or None,
        "since": time_text(pause.since),
        "until": time_text(pause.until),
    }


async def set_tasks_paused(
    store: Store, names: Sequence[str], *, paused: bool, request: PauseRequest = NO_DETAILS
) -> list[ActionResult]:
    """Pause or resume tasks. Their running jobs go on. A task that no live worker has can only be resumed."""
    known = without_internal({name: 0 for worker in await store.workers() for name in worker.tasks})
    now = (await store.list_schedules()).now
    return [
        await _pause(store, name, request, now, sorted(known)) if paused else await _resume(store, name)
        for name in dict.fromkeys(names)
    ]


async def set_batches_paused(
    store: Store, ids: Sequence[str], *, paused: bool, request: PauseRequest = NO_DETAILS
) -> list[ActionResult]:
    """Pause or resume batches. Their running jobs go on, and jobs may still join them."""
    now = (await store.list_schedules()).now
    wanted = request if paused else None
    return [await _set_batch_paused(store, each, wanted, now) for each in dict.fromkeys(ids)]


async def _set_batch_paused(store: Store, batch_id: str, request: PauseRequest | None, now: float) -> ActionResult:
    before = await store.get_batch(batch_id)
    if before is None:
        message = sentence("no such batch, or it was removed after its retention")
        return ActionResult(batch_id, Status.NOT_FOUND, message, {"batch": None})
    if request is None:
        after = await resume_batch(store, batch_id) or before
        done = sentence("resumed; unfinished jobs: {count}", count=f"{after.unfinished:,}")
        message = done if before.paused else sentence("not paused")
    elif before.ended is not None:
        after = before
        message = sentence("not paused: already finished ({state})", state=sentence(before.state))
    else:
        after = await pause_batch(store, batch_id, request.pause(now)) or before
        count = f"{after.unfinished:,}"
        done = sentence("{paused}; unfinished jobs: {count}", paused=request.paused, count=count)
        message = sentence("paused already; changed") if before.paused else done
    return ActionResult(batch_id, Status.DONE, message, {"batch": batch_document(after)})


async def _pause(store: Store, name: str, request: PauseRequest, now: float, known: Sequence[str]) -> ActionResult:
    if name not in known:
        unknown = sentence("no live worker has a task of this name; no worker runs")
        if known:
            names = ", ".join(known)
            unknown = sentence("no live worker has a task of this name; known tasks: {names}", names=names)
        return ActionResult(name, Status.NOT_FOUND, unknown)
    before = await pause_task(store, name, request.pause(now))
    message = request.paused if before is None else sentence("paused already; changed")
    return ActionResult(name, Status.DONE, message)


async def _resume(store: Store, name: str) -> ActionResult:
    before = await resume_task(store, name)
    return ActionResult(name, Status.DONE, sentence("not paused" if before is None else "resumed"))
