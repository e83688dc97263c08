"""Stack on demand: what a running job does now, as its worker answers through the store.

A stack contains lines of the service's source, but no values of variables. Only operators see it, as they see tracebacks.
"""

import time
from dataclasses import dataclass

from sidelane.admin.documents import Document, time_text, worker_document
from sidelane.admin.job_notices import WorkerLookup, find_worker
from sidelane.admin.jobs import JobView, due_later, job_view
from sidelane.admin.sentence import Sentence, sentence
from sidelane.client.client import Client
from sidelane.model.job import JobRecord, State
from sidelane.model.shared_state import ValueChange, VersionedValue
from sidelane.model.stack import STACK_SLOTS, Stack, StackRequest
from sidelane.stores.contract import Store, Subscription, value_topic

DEFAULT_TIMEOUT = 10.0
"""Seconds to wait for a worker's answer."""

CHECK_INTERVAL = 1.0
"""Seconds between two checks whether the attempt still runs, while no answer has come."""

MAX_TIMEOUT = 60.0
"""Seconds. Workers delete requests that are much older."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStack:
    """What a job does now. Without an answer, `stack` is None, and `notice` is the reason."""

    record: JobRecord
    lookup: WorkerLookup
    stack: Stack | None = None
    notice: Sentence | None = None

    def document(self) -> Document:
        """Return the answer as a JSON document."""
        worker = self.lookup.worker
        return {
            "id": self.record.id,
            "state": str(self.record.state),
            "attempt": self.record.attempt,
            "worker": worker_document(worker) if worker else None,
            "activity": self.stack.activity if self.stack else None,
            "stack": self.stack.text if self.stack else None,
            "notice": str(self.notice) if self.notice else None,
        }


async def job_stack(client: Client, job_id: str, *, timeout: float = DEFAULT_TIMEOUT) -> JobStack:
    """Return what a job does now, within `timeout` seconds. Raises `UnknownJob`, `JobRemoved` or `StoreUnavailable`."""
    store, end = client.store, time.monotonic() + timeout
    record = await client.record(job_id)
    lookup = await find_worker(record, store)
    if notice := _why_no_stack(record, lookup):
        return JobStack(record=record, lookup=lookup, notice=notice)
    request = StackRequest(job_id=job_id, attempt=record.attempt)
    async with store.watch(*map(value_topic, STACK_SLOTS)) as changes:
        try:
            if not await _send(store, request, changes, end):
                busy = sentence("others request stacks at the moment: try again")
                return JobStack(record=record, lookup=lookup, notice=busy)
            answer = await _wait_for_answer(client, request, changes, end)
        finally:
            await _remove(store, request)
    if answer is not None:
        return JobStack(record=record, lookup=lookup, stack=answer)
    newest = await client.record(job_id)
    if not _is_running(newest, request):
        notice = sentence(
            "attempt {number} ended before its worker answered; the job is now {state}",
            number=request.attempt, state=sentence(newest.state),
        )  # fmt: skip
        return JobStack(record=newest, lookup=lookup, notice=notice)
    lookup = await find_worker(newest, store)
    notice = lookup.notice or sentence(
        "the worker did not answer within {seconds:g} s: its process is frozen or dead, or runs a release that cannot answer",
        seconds=timeout,
    )
    return JobStack(record=newest, lookup=lookup, notice=notice)


def _why_no_stack(record: JobRecord, lookup: WorkerLookup) -> Sentence | None:
    """Return why a job has no stack that could be requested, or None."""
    if record.external_lease is not None:
        to = lookup.sent.to if lookup.sent else "?"
        text = "the job runs elsewhere ({to}): external and remote workers have no access to the store, so they cannot answer"
        return sentence(text, to=to)
    if record.state is State.RUNNING:
        return lookup.notice
    view, due = job_view(record, time.time()), due_later(record, time.time())
    state = sentence(view)
    if view is JobView.WAITING_FOR_LIMIT:
        why = sentence(
            "the job does not run: its state is {state} {limit!r}", state=state, limit=record.waiting_for_limit
        )
    elif due is not None:
        why = sentence("the job does not run: its state is {state} until {time}", state=state, time=time_text(due))
    else:
        why = sentence("the job does not run: its state is {state}", state=state)
    return sentence("{why}; {notice}", why=why, notice=lookup.notice) if lookup.notice else why


def _is_running(record: JobRecord, request: StackRequest) -> bool:
    return record.state is State.RUNNING and record.attempt == request.attempt


async def _send(store: Store, request: StackRequest, changes: Subscription, end: float) -> bool:
    """Put a request into a free slot. Return False if none was free until `end`."""
    while True:
        for name, value in zip(STACK_SLOTS, await store.read_values(STACK_SLOTS), strict=True):
            if value is None and await store.set_value(ValueChange(name=name, text=request.dump(), replaces=None)):
                return True
        if time.monotonic() >= end:
            return False
        await changes.wait(min(CHECK_INTERVAL, end - time.monotonic()))


async def _wait_for_answer(client: Client, request: StackRequest, changes: Subscription, end: float) -> Stack | None:
    """Return the answer, or None if there was none until `end` or the attempt has ended."""
    while True:
        value = await _find(client.store, request)
        answer = StackRequest.load(value.text).stack if value else None
        left = end - time.monotonic()
        if answer is not None or left <= 0:
            return answer
        hinted = await changes.wait(min(CHECK_INTERVAL, left))
        if not hinted and not _is_running(await client.record(request.job_id), request):
            return None


async def _remove(store: Store, request: StackRequest) -> None:
    """Delete a request or its answer, which may arrive at the same moment."""
    while value := await _find(store, request):
        await store.set_value(ValueChange(name=value.name, text=None, replaces=value.version))


async def _find(store: Store, request: StackRequest) -> VersionedValue | None:
    """Return the value of a request, or of its answer, which both have its random id."""
    values = await store.read_values(STACK_SLOTS)
    return next((each for each in values if each is not None and f'"{request.id}"' in each.text), None)
