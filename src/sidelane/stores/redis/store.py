"""The store contract on Redis: each verb is one script, and calls that are too large for one are cut."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, TypeVar

from sidelane.coalescing import CallCoalescer
from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.codec import escape_surrogates, is_storable
from sidelane.model.event import Cursor, EventPage
from sidelane.model.job import JobRecord, JobSpec, Lease, Query, Rejection, State, Submission, Tombstone
from sidelane.model.outcome import AttemptResult, EventAppend, LeaseStatus
from sidelane.model.schedule import Schedule, ScheduleList, ScheduleTick
from sidelane.model.worker import (
    STOPPED,
    ClaimRequest,
    Claims,
    LimitStats,
    QueuePosition,
    QueueStats,
    SweepResult,
    WorkerInfo,
)
from sidelane.stores.chunking import MAX_ITEMS, Cost, chunks, cost_of_append, cost_of_one, cost_of_result, cost_of_spec
from sidelane.stores.contract import Subscription
from sidelane.stores.redis import arguments, preflight, replies
from sidelane.stores.redis.connection import Server
from sidelane.stores.redis.notifications import Notifier
from sidelane.stores.redis.url import RedisUrl
from sidelane.stores.serialization import dump_schedule, dump_worker, load_worker
from sidelane.stores.validation import check_batch, check_schedule, spec_problem

_FURTHEST = 1000  # what position counts to
_MOST_KEYS = 1000  # that one step of a look through all keys goes over
_MOST_READ = 262_144  # bytes: what readings at once hold together, give or take the last event of each
_VERDICTS = (LeaseStatus.LOST, LeaseStatus.HELD, LeaseStatus.CANCEL)

Item = TypeVar("Item")


class RedisStore:
    """Jobs on one Redis or Valkey server. It belongs to the event loop that opened it."""

    def __init__(self, server: Server, watching: Notifier, prefix: str, found: preflight.ServerInfo) -> None:
        self._server = server
        self._prefix = prefix
        self._watching = watching
        self._reads = CallCoalescer(self._read)
        self.description, self.durability_warnings = found

    @classmethod
    async def open(cls, url: str, clock: Callable[[], float] = time.time) -> "RedisStore":
        """Open the store that a URL names, after checking that its server will do."""
        address = RedisUrl.parse(url)
        server = Server(address, clock)
        try:
            found = await preflight.check_server(server, address.prefix, address.name)
        except BaseException:
            await server.close()
            raise
        return cls(server, Notifier(address, server), address.prefix, found)

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        problems = [spec_problem(spec) for spec in specs]
        good = [_storable(spec) for spec, problem in zip(specs, problems, strict=True) if problem is None]
        made: list[Submission | Rejection] = []
        for piece, _ in chunks(good, cost_of_spec):
            fields = [field for spec in piece for field in arguments.specification(spec)]
            now, *answers = await self._server.run("submit", len(piece), *fields)
            at = float(now)
            made += [replies.submission_of(spec, answer, at) for spec, answer in zip(piece, answers, strict=True)]
        submissions = iter(made)
        return [Rejection(problem) if problem else next(submissions) for problem in problems]

    async def claim(self, request: ClaimRequest) -> Claims:
        again = True
        answer: Any = ()
        while again:
            watching = self._watching
            fields = arguments.claim_fields(request, watching.watcher, watching.queues)
            answer = await self._server.run("claim", *fields)
            again = bool(answer[0])
        return replies.claims_of(answer)

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]:
        info = "" if worker.health == STOPPED else dump_worker(worker)
        fields = [field for each in leases for field in arguments.lease_fields(each)]
        answers = await self._server.run("heartbeat", worker.id, info, repr(lease), len(leases), *fields)
        return [_VERDICTS[answer] for answer in answers]

    async def append(self, appends: Sequence[EventAppend]) -> list[bool]:
        return [bool(each) for each in await self._cut("append", appends, arguments.append_fields, cost_of_append)]

    async def finish(self, reports: Sequence[AttemptResult]) -> list[bool]:
        return [bool(each) for each in await self._cut("finish", reports, arguments.report_fields, cost_of_result)]

    async def cancel(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return [answer and replies.record_of(answer) for answer in await self._over("cancel", ids)]

    async def requeue(self, ids: Sequence[str], *, arguments: str | None = None) -> list[JobRecord | Rejection | None]:
        given = "" if arguments is None else escape_surrogates(arguments)
        return [replies.requeued_of(answer) for answer in await self._over("requeue", ids, given)]

    async def remove(self, ids: Sequence[str]) -> list[bool]:
        return [bool(answer) for answer in await self._over("remove", ids)]

    async def get(self, ids: Sequence[str]) -> list[JobRecord | Tombstone | None]:
        return list(map(replies.found_of, ids, await self._over("get", ids)))

    async def list_jobs(self, query: Query) -> list[JobRecord]:
        found: list[JobRecord] = []
        before = "" if query.before is None else str(query.before)
        fields = arguments.query_fields(query)
        while len(found) < query.limit and not query.finds_nothing:
            before, *answers = await self._server.run("find", _index(query), before, MAX_ITEMS, *fields)
            records = map(replies.record_of, answers)
            found += [replace(record, history=()) for record in records if replies.meets(record, query)]
            if not before:
                break
        return found[: query.limit]

    async def queue_position(self, job_id: str) -> QueuePosition | None:
        answer = await self._server.run("position", job_id, _FURTHEST)
        return None if answer is None else replies.place_of(answer)

    async def read(self, job_id: str, *, after: Cursor | None = None, limit: int = 500) -> EventPage | None:
        cursor = ("", "") if after is None else (after.number, after.epoch)
        answer = await self._reads((job_id, *cursor, limit))
        return None if answer is None else replies.reading_of(job_id, answer)

    def watch(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        return self._watching.watch(topics)

    async def touch_listeners(self, ids: Sequence[str]) -> None:
        for piece, _ in chunks(ids, cost_of_one):
            await self._server.run("listen", *piece)

    async def pause(self, queue: str, paused: bool = True) -> None:
        await self._server.run("pause", queue, int(paused))

    async def workers(self) -> list[WorkerInfo]:
        return list(map(load_worker, await self._server.run("workers")))

    async def stats(self) -> list[QueueStats]:
        return sorted(map(replies.stats_of, await self._server.run("stats")), key=lambda each: each.name)

    async def limits(self) -> list[LimitStats]:
        found: list[LimitStats] = []
        names = await self._scan("slots:", "rate:", "parked:slots:", "parked:rate:")
        for piece, _ in chunks(sorted(names), cost_of_one):
            found += map(replies.limit_stats_of, await self._server.run("limits", *piece))
        return found

    async def open_batch(self, spec: BatchSpec) -> BatchRecord:
        check_batch(spec)
        return replies.batch_record_of(await self._server.run("open_batch", *arguments.batch_fields(spec)))

    async def seal_batch(self, batch_id: str) -> BatchRecord | None:
        answer = await self._server.run("seal_batch", batch_id)
        return answer and replies.batch_record_of(answer)

    async def get_batch(self, batch_id: str) -> BatchRecord | None:
        answer = await self._server.run("get_batch", batch_id)
        return answer and replies.batch_record_of(answer)

    async def upsert_schedule(self, schedule: Schedule) -> None:
        check_schedule(schedule)
        await self._server.run("keep_schedule", schedule.name, dump_schedule(schedule), *schedule.aliases)

    async def list_schedules(self) -> ScheduleList:
        return replies.timetable_of(await self._server.run("schedules"))

    async def fire(self, firing: ScheduleTick) -> bool:
        return bool(await self._server.run("fire", *arguments.firing_fields(firing)))

    async def set_schedule_enabled(self, name: str, enabled: bool = True) -> bool:
        return bool(await self._server.run("enable_schedule", name, int(enabled)))

    async def delete_schedule(self, name: str) -> bool:
        return bool(await self._server.run("forget_schedule", name))

    async def sweep(self, *, lease: float, limit: int = 200) -> SweepResult:
        lost, ended, removed, more, *times = await self._server.run("sweep", repr(lease), limit)
        return SweepResult(lost, ended, removed, bool(more), *map(replies.time_of, times))

    async def get_or_set(self, name: str, value: str) -> str:
        kept: str = await self._server.run("remember", name, value)
        return kept

    async def close(self) -> None:
        await self._watching.close()
        await self._server.close()

    async def _read(self, wanted: Sequence[Sequence[str | int]]) -> list[Any]:
        """Read several logs at once: when a worker's events are written, those who follow its jobs wake together."""
        fields = [field for each in wanted for field in each]
        answers: list[Any] = await self._server.run("read", _MOST_READ, len(wanted), *fields)
        return answers

    async def _over(self, verb: str, ids: Sequence[str], *before: str) -> list[Any]:
        """Run a verb whose last arguments are ids, a piece at a time."""
        answers: list[Any] = []
        brought = sum(map(len, before))  # to each of them
        for piece, _ in chunks(ids, lambda _id: Cost(1, brought)):
            answers += await self._server.run(verb, *before, *piece)
        return answers

    async def _scan(self, *kinds: str) -> set[str]:
        """Look through all keys for those of some kinds, and give what follows the kind in each."""
        found: set[str] = set()
        for kind in kinds:
            start, cursor = f"{self._prefix}:{kind}", "0"
            while True:
                cursor, keys = await self._server.command("SCAN", cursor, "MATCH", f"{start}*", "COUNT", _MOST_KEYS)
                found.update(key.removeprefix(start) for key in keys)
                if cursor == "0":
                    break
        return found

    async def _cut(
        self,
        verb: str,
        items: Sequence[Item],
        encode: Callable[[Item], Iterable[Any]],
        weigh: Callable[[Item], Cost],
    ) -> list[Any]:
        """Run a verb over all items, a piece at a time, so that no script holds the server up for long."""
        answers: list[Any] = []
        for piece, _ in chunks(items, weigh):
            arguments = [argument for item in piece for argument in encode(item)]
            answers += await self._server.run(verb, len(piece), *arguments)
        return answers


def _index(query: Query) -> str:
    """Choose the index to look along: the one that is likely to hold the fewest jobs."""
    for name in ("key", "parent", "batch", "user"):
        value = getattr(query, name)
        if value is not None:
            return f"{name}:{value}"
    return "failed" if query.states == frozenset({State.FAILED}) else "all"


def _storable(spec: JobSpec) -> JobSpec:
    """Give the spec as it will come back."""
    return spec if is_storable(spec.arguments) else replace(spec, arguments=escape_surrogates(spec.arguments))
