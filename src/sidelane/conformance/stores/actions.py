"""Helpers for tests of stores: submit, claim and finish jobs, let time pass, read state."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sidelane.model.event import END, Cursor, Event, NewEvent
from sidelane.model.history import NO_USAGE, Usage
from sidelane.model.ids import new_nonce
from sidelane.model.job import FINISHED, Failure, FollowUp, JobRecord, JobSpec, Lease, Rejection, State, Submission
from sidelane.model.limit import Limit, OnLimit
from sidelane.model.outcome import AttemptResult, EventAppend, LeaseStatus, Outcome
from sidelane.model.problem import Problem
from sidelane.model.worker import Claimed, ClaimRequest, SweepResult, WorkerInfo
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store, job_topic

LEASE = 10.0
"""The duration of every lease in the suite, in seconds."""

HINT_TIMEOUT = 5.0
"""Seconds of the wall clock that a hint may take."""

FOLLOW_UP = FollowUp(FINISHED, JobSpec(id="", task="follow"))
"""A follow-up for every final state."""


def specs(
    *ids: str, queue: str = "default", user: str | None = None, priority: int = 0, limits: tuple[Limit, ...] = ()
) -> list[JobSpec]:
    return [JobSpec(id=id_, task="t", queue=queue, user=user, priority=priority, limits=limits) for id_ in ids]


def slot_limit(most: int, on_limit: OnLimit, name: str = "few", key: str = "k") -> Limit:
    """Return a limit on concurrent jobs."""
    return Limit(name=name, key=key, max=most, on_limit=on_limit)


def rate_limit(most: int, window: float, on_limit: OnLimit, burst: int = 1, name: str = "often") -> Limit:
    """Return a limit of `most` jobs per `window` seconds."""
    return Limit(name=name, key="k", max=most, on_limit=on_limit, window=window, burst=burst)


INVALID_SPECS = (
    JobSpec(id="", task="\ud800"),
    JobSpec(id="", task="t", max_worker_losses=2**70),
    JobSpec(id="", task="t", retention=math.nan),
    JobSpec(id="", task="t", id_retention=math.nan),
    JobSpec(id="", task="t", limits=(slot_limit(0, "wait"),)),
    JobSpec(id="", task="t", key="k" * 513),
    JobSpec(id="", task="t", labels={f"label-{number}": "" for number in range(65)}),
    JobSpec(id="", task="t", labels={"n" * 129: ""}),
    JobSpec(id="", task="t", labels={"": "nameless"}),
    JobSpec(id="", task="t", labels={"name": "v" * 513}),
)
"""Specs that every store must refuse."""


async def submit(store: Store, *wanted: JobSpec) -> list[JobRecord]:
    """Submit jobs and check that all are new."""
    records = []
    for answer in await store.submit(wanted):
        assert isinstance(answer, Submission)
        assert answer.created
        records.append(answer.record)
    return records


async def submit_rejected(store: Store, spec: JobSpec) -> Rejection:
    """Submit a job that must be rejected, and return the rejection."""
    (answer,) = await store.submit([spec])
    assert isinstance(answer, Rejection)
    return answer


async def claim(
    store: Store,
    *,
    worker: str = "w",
    queues: Mapping[str, int] | None = None,
    tasks: Mapping[str, int] | None = None,
    ids: tuple[str, ...] = (),
    limit: int = 100,
    lease: float = LEASE,
    isolated: bool = False,
    release: str = "",
) -> list[Claimed]:
    """Claim ready jobs, by default from the queue `default`."""
    limits_of_queues = {"default": limit} if queues is None and not ids else queues or {}
    request = ClaimRequest(
        request=new_nonce(), worker=worker, queues=limits_of_queues, tasks=tasks, ids=ids, limit=limit, lease=lease,
        isolated=isolated, release=release,
    )  # fmt: skip
    return list((await store.claim(request)).jobs)


async def claim_job(store: Store, job_id: str, *, worker: str = "w", release: str = "") -> Claimed:
    """Claim one job by its id, and check that it was claimed."""
    claimed = await claim(store, worker=worker, ids=(job_id,), release=release)
    assert [each.record.id for each in claimed] == [job_id]
    return claimed[0]


async def start(store: Store, spec: JobSpec, *, worker: str = "w", release: str = "") -> Claimed:
    """Submit a new job and claim it."""
    await submit(store, spec)
    return await claim_job(store, spec.id, worker=worker, release=release)


def ids(claimed: Sequence[Claimed]) -> list[str]:
    return [each.record.id for each in claimed]


def failure(detail: str = "it broke", *, status: int = 500) -> Failure:
    return Failure(problem=Problem(status=status, detail=detail), error="RuntimeError: it broke", traceback="line 1")


def tokens(*texts: str) -> tuple[NewEvent, ...]:
    return tuple(NewEvent("token", json.dumps(text)) for text in texts)


async def append_tokens(store: Store, claimed: Claimed, ordinal: int, *texts: str) -> bool:
    """Append tokens, the first with this ordinal. Returns whether the lease was valid."""
    (accepted,) = await store.append([EventAppend(lease=claimed.lease, ordinal=ordinal, entries=tokens(*texts))])
    return accepted


async def finish(
    store: Store,
    claimed: Claimed,
    outcome: Outcome,
    *entries: NewEvent,
    ordinal: int = 1,
    usage: Usage = NO_USAGE,
    throttled: bool = False,
) -> bool:
    """Finish one attempt. Returns whether the lease was valid."""
    report = AttemptResult(
        lease=claimed.lease, outcome=outcome, ordinal=ordinal, entries=entries, usage=usage, throttled=throttled
    )
    (accepted,) = await store.finish([report])
    return accepted


async def heartbeat(store: Store, worker: str, *leases: Lease) -> list[LeaseStatus]:
    """Send one heartbeat for these leases."""
    return await store.heartbeat(WorkerInfo(id=worker, name=worker), leases, lease=LEASE)


async def pass_time(store: Store, clock: ManualClock, seconds: float) -> SweepResult:
    """Advance the clock with a sweep every quarter of a lease. Returns the sum of their results.

    A single jump would look like a stopped process, and then nothing expires for a whole lease (rule 5).
    """
    total = SweepResult()
    while seconds > 0:
        step = min(seconds, LEASE / 4)
        clock.advance(step)
        seconds -= step
        swept = await store.sweep(lease=LEASE)
        total = SweepResult(
            total.lost + swept.lost, total.ended + swept.ended, total.removed + swept.removed, swept.more
        )
    return total


async def record(store: Store, job_id: str) -> JobRecord:
    """Return the record of a job that must exist."""
    (found,) = await store.get([job_id])
    assert isinstance(found, JobRecord)
    return found


async def states(store: Store, *job_ids: str) -> list[State]:
    """Return the states of jobs that must exist."""
    return [(await record(store, job_id)).state for job_id in job_ids]


async def blocking_limits(store: Store, *job_ids: str) -> list[str | None]:
    """Return the limit that blocks each of these jobs, or None."""
    return [(await record(store, job_id)).waiting_for_limit for job_id in job_ids]


async def limit_usage(store: Store) -> dict[str, tuple[int, int]]:
    """Return for each limit in use: used slots, and jobs that wait for one."""
    return {each.id: (each.used, each.waiting) for each in await store.limits()}


async def read_log(store: Store, job_id: str) -> list[Event]:
    """Read a job's whole event log."""
    events: list[Event] = []
    after: Cursor | None = None
    while True:
        page = await store.read(job_id, after=after)
        assert page is not None
        if not page.events:
            break
        events += page.events
        after = events[-1].cursor
    assert [event.number for event in events] == list(range(1, page.last + 1))
    return events


async def event_texts(store: Store, job_id: str) -> list[str]:
    """Return a job's events: the text of each token, the name of any other event."""
    return [json.loads(event.data) if event.name == "token" else event.name for event in await read_log(store, job_id)]


async def end_event(store: Store, job_id: str) -> dict[str, Any]:
    """Return the data of a finished job's end event."""
    last = (await read_log(store, job_id))[-1]
    assert last.name == END
    data: dict[str, Any] = json.loads(last.data)
    assert data["id"] == job_id
    assert data["state"] == (await record(store, job_id)).state
    return data


async def follow_to_end(store: Store, job_id: str) -> list[Event]:
    """Read a job's event log to its end: subscribe, read, then wait (rule 19)."""
    events: list[Event] = []
    async with store.watch(job_topic(job_id)) as wakeups:
        while not events or events[-1].name != END:
            page = await store.read(job_id, after=events[-1].cursor if events else None)
            assert page is not None
            assert not page.gap
            events += page.events
            if not page.events:
                assert await wakeups.wait(HINT_TIMEOUT)
    return events
