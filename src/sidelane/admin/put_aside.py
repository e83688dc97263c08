"""Messages that were put aside, as operators see them: which and why, their copies, requeue and purge."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.admin.actions import ActionResult, Lookup, Status, rejection_text
from sidelane.admin.documents import Document, error_text, parse_json, time_text
from sidelane.client.put_aside import PutAside, read_put_aside
from sidelane.consumers.put_aside import TITLE, message_task
from sidelane.model.errors import UnknownJob
from sidelane.model.job import JobRecord, Rejection, State
from sidelane.model.message import Message
from sidelane.model.sentence import Sentence, sentence
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import MESSAGE_QUEUE

PAGE_SIZE: Final = 50
"""Entries of the journal that one page looks at. Their copies are read too, of which each may have 256 KiB."""

GONE: Final = sentence("no copy of such a message is kept")


@dataclass(frozen=True, slots=True)
class PutAsideMessage:
    """A message that was put aside: what was noted last, and how often. `copy` is the job that keeps it, if one does."""

    noted: PutAside
    times: int
    copy: JobRecord | None

    @property
    def reason(self) -> str:
        """Why its receiver could not use it, when it was put aside or when it was requeued last."""
        return self.noted.reason if self.copy is None else reason_of(self.copy)

    def document(self) -> Document:
        """Return the message as JSON, without its body."""
        noted, copy = self.noted, self.copy
        return {
            "id": None if copy is None else copy.id, "message": noted.message, "at": time_text(noted.at), "times": self.times,
            "endpoint": noted.endpoint, "consumer": noted.receiver or None, "reason": self.reason,
            "state": None if copy is None else str(copy.state),
        }  # fmt: skip


def message_document(copy: JobRecord) -> Document:
    """Return the copy of a message as JSON, with its body."""
    message = message_of(copy)
    return {
        "id": copy.id, "message": message.id, "at": time_text(copy.submitted), "consumer": consumer_of(copy),
        "reason": reason_of(copy), "state": str(copy.state), "attempts": copy.attempt, "job": parse_json(copy.result),
        "group": message.group, "attributes": dict(message.attributes), "body": message.body,
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class PutAsidePage:
    """Messages, newest first. `before` is the number from which older ones continue, or None after the last."""

    messages: Sequence[PutAsideMessage]
    before: int | None


async def put_aside_page(store: Store, *, before: int | None = None) -> PutAsidePage:
    """Return the newest messages that were put aside, or the newest with numbers below `before`.

    Messages that were requeued with success or purged are left out. A page may have no message although older ones follow.
    """
    noted = await read_put_aside(store, PAGE_SIZE, before=before)
    ids = list({each.job for each in noted if each.job})
    copies = dict(zip(ids, map(_copy, await store.get(ids) if ids else []), strict=True))
    found: dict[tuple[str, str], list[PutAside]] = {}
    for each in noted:
        copy = copies.get(each.job)
        if not each.job or (copy is not None and copy.state is not State.SUCCEEDED):
            found.setdefault((each.endpoint, each.message), []).append(each)
    messages = [PutAsideMessage(same[0], len(same), copies.get(same[0].job)) for same in found.values()]
    return PutAsidePage(messages, noted[-1].number if noted and noted[-1].number > 1 else None)


async def newest_put_aside(store: Store, limit: int) -> list[PutAsideMessage]:
    """Return the newest messages that were put aside, at most `limit`."""
    found: list[PutAsideMessage] = []
    before: int | None = None
    while len(found) < limit:
        page = await put_aside_page(store, before=before)
        found += page.messages
        before = page.before
        if before is None:
            break
    return found[:limit]


async def kept_copies(store: Store) -> AsyncIterator[Sequence[JobRecord]]:
    """Yield the copies of all messages that were put aside, newest first, in pages."""
    before: int | None = None
    while True:
        page = await put_aside_page(store, before=before)
        yield [each.copy for each in page.messages if each.copy is not None]
        before = page.before
        if before is None:
            return


async def put_aside_copy(store: Store, job_id: str) -> JobRecord:
    """Return the copy of a message, with what happened to it. Raises `UnknownJob`."""
    (found,) = await store.get([job_id])
    copy = _copy(found)
    if copy is None:
        raise UnknownJob(
            sentence(
                "{id}: {gone}. Copies are kept for 14 days, and those of the newest 1,000 messages.",
                id=job_id[:200],
                gone=GONE,
            )
        )
    return copy


def message_of(copy: JobRecord) -> Message:
    """Return the message of a copy."""
    kept = json.loads(copy.spec.arguments)
    return Message(body=kept["body"], id=kept["id"], attributes=kept["attributes"], group=kept["group"])


def consumer_of(copy: JobRecord) -> str:
    """Return the name of the consumer that a message is for."""
    return copy.spec.task.removeprefix(message_task(""))


def reason_of(copy: JobRecord) -> str:
    """Return why the receiver of a message could not use it the last time."""
    problem = copy.problem
    if problem is None:
        return str(json.loads(copy.spec.arguments)["reason"])
    return problem.detail if problem.title == TITLE else error_text(copy)


async def requeue_messages(store: Store, ids: Sequence[str]) -> list[ActionResult]:
    """Let a worker handle messages again, as if they had just arrived. Their copies end when the jobs are committed."""

    async def requeue(copies: Sequence[str]) -> list[Sentence | str]:
        return [_refusal(answer) for answer in await store.requeue(copies)]

    return await _act(store, ids, requeue, sentence("requeued: a worker handles it again"))


async def purge_messages(store: Store, ids: Sequence[str]) -> list[ActionResult]:
    """Delete the copies of messages. What their transport has put aside stays there."""

    async def purge(copies: Sequence[str]) -> list[Sentence | str]:
        return ["" if removed else GONE for removed in await store.remove(copies)]

    return await _act(store, ids, purge, sentence("purged"))


async def _act(
    store: Store, ids: Sequence[str], act: Callable[[Sequence[str]], Awaitable[list[Sentence | str]]], done: Sentence
) -> list[ActionResult]:
    """Do an action to the copies that are put aside. `act` returns for each why it was refused, or ""."""
    ids = list(dict.fromkeys(ids))
    copies = dict(zip(ids, map(_copy, await store.get(ids)), strict=True))
    ended = [job_id for job_id, copy in copies.items() if copy is not None and _is_idle(copy)]
    refusals = dict(zip(ended, await act(ended), strict=True)) if ended else {}
    return [_result(job_id, copy, refusals.get(job_id), done) for job_id, copy in copies.items()]


def _result(job_id: str, copy: JobRecord | None, refusal: Sentence | str | None, done: Sentence) -> ActionResult:
    if copy is None:
        return ActionResult(job_id, Status.NOT_FOUND, GONE)
    if copy.state is State.SUCCEEDED:
        return ActionResult(job_id, Status.FAILED, sentence("its consumer has accepted it meanwhile"))
    if refusal is None:
        return ActionResult(job_id, Status.FAILED, sentence("a worker handles it again already"))
    return ActionResult(job_id, Status.FAILED, refusal) if refusal else ActionResult(job_id, Status.DONE, done)


def _refusal(answer: JobRecord | Rejection | None) -> Sentence | str:
    if isinstance(answer, Rejection):
        return rejection_text(answer)
    return GONE if answer is None else ""


def _copy(found: Lookup) -> JobRecord | None:
    """Return a job if it keeps a copy of a message."""
    return found if isinstance(found, JobRecord) and found.spec.queue == MESSAGE_QUEUE else None


def _is_idle(copy: JobRecord) -> bool:
    """Return whether a message waits for an operator."""
    return copy.state in (State.FAILED, State.CANCELLED)
