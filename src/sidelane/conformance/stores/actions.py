"""The steps most tests take: submit, take a job, finish it, let time pass, look."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sidelane.model.event import END, Cursor, Event, NewEvent
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
"""How long a hint may take, in seconds of the wall clock."""

FOLLOW_UP = FollowUp(FINISHED, JobSpec(id="", task="follow"))
"""A follow-up of every end."""


def specs(
    *ids: str, queue: str = "default", user: str | None = None, priority: int = 0, limits: tuple[Limit, ...] = ()
) -> list[JobSpec]:
    return [JobSpec(id=id_, task="t", queue=queue, user=user, priority=priority, limits=limits) for id_ in ids]


def slot_limit(most: int, when_full: OnLimit, name: str = "few", key: str = "k") -> Limit:
    """A limit of so many slots."""
    return Limit(name=name, key=key, most=most, on_limit=when_full)


def rate_limit(most: int, window: float, when_full: OnLimit, burst: int = 1, name: str = "often") -> Limit:
    """A limit of so many in a time (seconds)."""
    return Limit(name=name, key="k", most=most, on_limit=when_full, window=window, burst=burst)


INVALID_SPECS = (
    JobSpec(id="", task="\ud800"),
    JobSpec(id="", task="t", max_worker_losses=2**70),
    JobSpec(id="", task="t", retention=math.nan),
    JobSpec(id="", task="t", id_retention=math.nan),
    JobSpec(id="", task="t", limits=(slot_limit(0, "wait"),)),
)
"""Templates that no store could make a job of."""


async def submit(store: Store, *wanted: JobSpec) -> list[JobRecord]:
    """Submit jobs that must all be new."""
    records = []
    for answer in await store.submit(wanted):
        assert isinstance(answer, Submission)
        assert answer.created
        records.append(answer.record)
    return records


async def submit_rejected(store: Store, spec: JobSpec) -> Rejection:
    """Submit a job that must be refused."""
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
) -> list[Claimed]:
    """Claim what there is, from the queue `default` unless told otherwise."""
    asked = {"default": limit} if queues is None and not ids else queues or {}
    request = ClaimRequest(
        request=new_nonce(), worker=worker, queues=asked, tasks=tasks, ids=ids, limit=limit, lease=lease,
        isolated=isolated,
    )  # fmt: skip
    return list((await store.claim(request)).jobs)


async def claim_job(store: Store, job_id: str, *, worker: str = "w") -> Claimed:
    """Claim one job by its id; it must be there to claim."""
    claimed = await claim(store, worker=worker, ids=(job_id,))
    assert [each.record.id for each in claimed] == [job_id]
    return claimed[0]


async def start(store: Store, spec: JobSpec, *, worker: str = "w") -> Claimed:
    """Submit a new job and claim it."""
    await submit(store, spec)
    return await claim_job(store, spec.id, worker=worker)


def ids(claimed: Sequence[Claimed]) -> list[str]:
    return [each.record.id for each in claimed]


def failure(detail: str = "it broke", *, status: int = 500) -> Failure:
    return Failure(problem=Problem(status=status, detail=detail), error="RuntimeError: it broke", traceback="line 1")


def tokens(*texts: str) -> tuple[NewEvent, ...]:
    return tuple(NewEvent("token", json.dumps(text)) for text in texts)


async def append_tokens(store: Store, claimed: Claimed, ordinal: int, *said: str) -> bool:
    """EventAppend tokens whose first has this ordinal."""
    (counted,) = await store.append([EventAppend(lease=claimed.lease, ordinal=ordinal, entries=tokens(*said))])
    return counted


async def finish(store: Store, claimed: Claimed, outcome: Outcome, *entries: NewEvent, ordinal: int = 1) -> bool:
    """AttemptResult how one attempt ended."""
    report = AttemptResult(lease=claimed.lease, outcome=outcome, ordinal=ordinal, entries=entries)
    (counted,) = await store.finish([report])
    return counted


async def heartbeat(store: Store, worker: str, *leases: Lease) -> list[LeaseStatus]:
    """Send one heartbeat that names these leases."""
    return await store.heartbeat(WorkerInfo(id=worker, name=worker), leases, lease=LEASE)


async def pass_time(store: Store, clock: ManualClock, seconds: float) -> SweepResult:
    """Let time pass as it does where sweeps run: one every quarter of a lease. Gives the sum of what they did.

    A single jump would be a stopped process to the store, which then expires nothing for a while (rules 5).
    """
    done = SweepResult()
    while seconds > 0:
        step = min(seconds, LEASE / 4)
        clock.advance(step)
        seconds -= step
        swept = await store.sweep(lease=LEASE)
        done = SweepResult(done.lost + swept.lost, done.ended + swept.ended, done.removed + swept.removed, swept.more)
    return done


async def record(store: Store, job_id: str) -> JobRecord:
    """Look up a job that must be there."""
    (found,) = await store.get([job_id])
    assert isinstance(found, JobRecord)
    return found


async def states(store: Store, *job_ids: str) -> list[State]:
    """Look up the states of jobs that must be there."""
    return [(await record(store, job_id)).state for job_id in job_ids]


async def blocking_limits(store: Store, *job_ids: str) -> list[str | None]:
    """Tell at which limit each of these jobs waits."""
    return [(await record(store, job_id)).waiting_for_limit for job_id in job_ids]


async def limit_usage(store: Store) -> dict[str, tuple[int, int]]:
    """Tell of each limit in use how many of its slots are taken, and how many jobs wait for one."""
    return {each.id: (each.held, each.waiting) for each in await store.limits()}


async def read_log(store: Store, job_id: str) -> list[Event]:
    """Read a job's whole log."""
    events: list[Event] = []
    after: Cursor | None = None
    while True:
        reading = await store.read(job_id, after=after)
        assert reading is not None
        if not reading.events:
            break
        events += reading.events
        after = events[-1].cursor
    assert [event.number for event in events] == list(range(1, reading.last + 1))
    return events


async def event_texts(store: Store, job_id: str) -> list[str]:
    """Read the names of a job's events, with their data where they are tokens."""
    return [json.loads(event.data) if event.name == "token" else event.name for event in await read_log(store, job_id)]


async def end_event(store: Store, job_id: str) -> dict[str, Any]:
    """Read what the end event of an ended job says."""
    last = (await read_log(store, job_id))[-1]
    assert last.name == END
    said: dict[str, Any] = json.loads(last.data)
    assert said["id"] == job_id
    assert said["state"] == (await record(store, job_id)).state
    return said


async def follow_to_end(store: Store, job_id: str) -> list[Event]:
    """Read a job's log to its end event as every reader should: subscribe, read, then wait."""
    said: list[Event] = []
    async with store.watch(job_topic(job_id)) as wakeups:
        while not said or said[-1].name != END:
            reading = await store.read(job_id, after=said[-1].cursor if said else None)
            assert reading is not None
            assert not reading.gap
            said += reading.events
            if not reading.events:
                assert await wakeups.wait(HINT_TIMEOUT)
    return said
