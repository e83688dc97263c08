"""The store contract on Redis: each verb is one script, and calls that are too large for one are cut."""

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, TypeVar

from sidelane.batching import Batching
from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.event import Cursor, Reading
from sidelane.model.job import Gone, JobRecord, JobSpec, Lease, Query, Refusal, State, Submission
from sidelane.model.outcome import Append, Report, Verdict
from sidelane.model.schedule import Firing, Schedule, Timetable
from sidelane.model.worker import STOPPED, ClaimRequest, Claims, LimitStats, Place, QueueStats, Swept, WorkerInfo
from sidelane.stores.checking import check_batch, check_schedule, is_storable, problem_with, storable
from sidelane.stores.contract import Wakeups
from sidelane.stores.pieces import (
    MOST_ITEMS,
    Weight,
    pieces,
    weight_of_append,
    weight_of_one,
    weight_of_report,
    weight_of_spec,
)
from sidelane.stores.redis import decoding, encoding, start
from sidelane.stores.redis.address import Address
from sidelane.stores.redis.server import Server
from sidelane.stores.redis.watching import Watching
from sidelane.stores.texts import schedule_text, worker_of, worker_text

_FURTHEST = 1000  # what position counts to
_MOST_KEYS = 1000  # that one step of a look through all keys goes over
_MOST_READ = 262_144  # bytes: what readings at once hold together, give or take the last event of each
_VERDICTS = (Verdict.LOST, Verdict.HELD, Verdict.CANCEL)

Item = TypeVar("Item")


class RedisStore:
    """Jobs on one Redis or Valkey server. It belongs to the event loop that opened it."""

    def __init__(self, server: Server, watching: Watching, prefix: str, found: start.Found) -> None:
        self._server = server
        self._prefix = prefix
        self._watching = watching
        self._reads = Batching(self._read)
        self.description, self.dangers = found

    @classmethod
    async def open(cls, url: str, clock: Callable[[], float] = time.time) -> "RedisStore":
        """Open the store that a URL names, after checking that its server will do."""
        address = Address.parse(url)
        server = Server(address, clock)
        try:
            found = await start.check(server, address.prefix, address.name)
        except BaseException:
            await server.close()
            raise
        return cls(server, Watching(address, server), address.prefix, found)

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Refusal]:
        problems = [problem_with(spec) for spec in specs]
        good = [_storable(spec) for spec, problem in zip(specs, problems, strict=True) if problem is None]
        made: list[Submission | Refusal] = []
        for piece, _ in pieces(good, weight_of_spec):
            fields = [field for spec in piece for field in encoding.specification(spec)]
            now, *answers = await self._server.run("submit", len(piece), *fields)
            at = float(now)
            made += [decoding.submission_of(spec, answer, at) for spec, answer in zip(piece, answers, strict=True)]
        submissions = iter(made)
        return [Refusal(problem) if problem else next(submissions) for problem in problems]

    async def claim(self, request: ClaimRequest) -> Claims:
        again = True
        answer: Any = ()
        while again:
            watching = self._watching
            fields = encoding.claim_fields(request, watching.watcher, watching.queues)
            answer = await self._server.run("claim", *fields)
            again = bool(answer[0])
        return decoding.claims_of(answer)

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[Verdict]:
        info = "" if worker.health == STOPPED else worker_text(worker)
        fields = [field for each in leases for field in encoding.lease_fields(each)]
        answers = await self._server.run("heartbeat", worker.id, info, repr(lease), len(leases), *fields)
        return [_VERDICTS[answer] for answer in answers]

    async def append(self, appends: Sequence[Append]) -> list[bool]:
        return [bool(each) for each in await self._cut("append", appends, encoding.append_fields, weight_of_append)]

    async def finish(self, reports: Sequence[Report]) -> list[bool]:
        return [bool(each) for each in await self._cut("finish", reports, encoding.report_fields, weight_of_report)]

    async def cancel(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return [answer and decoding.record_of(answer) for answer in await self._over("cancel", ids)]

    async def requeue(self, ids: Sequence[str], *, arguments: str | None = None) -> list[JobRecord | Refusal | None]:
        given = "" if arguments is None else storable(arguments)
        return [decoding.requeued_of(answer) for answer in await self._over("requeue", ids, given)]

    async def remove(self, ids: Sequence[str]) -> list[bool]:
        return [bool(answer) for answer in await self._over("remove", ids)]

    async def get(self, ids: Sequence[str]) -> list[JobRecord | Gone | None]:
        return list(map(decoding.found_of, ids, await self._over("get", ids)))

    async def find(self, query: Query) -> list[JobRecord]:
        found: list[JobRecord] = []
        before = "" if query.before is None else str(query.before)
        fields = encoding.query_fields(query)
        while len(found) < query.limit and not query.finds_nothing:
            before, *answers = await self._server.run("find", _index(query), before, MOST_ITEMS, *fields)
            records = map(decoding.record_of, answers)
            found += [replace(record, history=()) for record in records if decoding.meets(record, query)]
            if not before:
                break
        return found[: query.limit]

    async def position(self, job_id: str) -> Place | None:
        answer = await self._server.run("position", job_id, _FURTHEST)
        return None if answer is None else decoding.place_of(answer)

    async def read(self, job_id: str, *, after: Cursor | None = None, limit: int = 500) -> Reading | None:
        cursor = ("", "") if after is None else (after.number, after.epoch)
        answer = await self._reads((job_id, *cursor, limit))
        return None if answer is None else decoding.reading_of(job_id, answer)

    def watch(self, *topics: str) -> AbstractAsyncContextManager[Wakeups]:
        return self._watching.watch(topics)

    async def listen(self, ids: Sequence[str]) -> None:
        for piece, _ in pieces(ids, weight_of_one):
            await self._server.run("listen", *piece)

    async def pause(self, queue: str, paused: bool = True) -> None:
        await self._server.run("pause", queue, int(paused))

    async def workers(self) -> list[WorkerInfo]:
        return list(map(worker_of, await self._server.run("workers")))

    async def stats(self) -> list[QueueStats]:
        return sorted(map(decoding.stats_of, await self._server.run("stats")), key=lambda each: each.name)

    async def limits(self) -> list[LimitStats]:
        found: list[LimitStats] = []
        names = await self._scan("slots:", "rate:", "parked:slots:", "parked:rate:")
        for piece, _ in pieces(sorted(names), weight_of_one):
            found += map(decoding.limit_stats_of, await self._server.run("limits", *piece))
        return found

    async def open_batch(self, spec: BatchSpec) -> BatchRecord:
        check_batch(spec)
        return decoding.batch_record_of(await self._server.run("open_batch", *encoding.batch_fields(spec)))

    async def seal_batch(self, batch_id: str) -> BatchRecord | None:
        answer = await self._server.run("seal_batch", batch_id)
        return answer and decoding.batch_record_of(answer)

    async def get_batch(self, batch_id: str) -> BatchRecord | None:
        answer = await self._server.run("get_batch", batch_id)
        return answer and decoding.batch_record_of(answer)

    async def keep_schedule(self, schedule: Schedule) -> None:
        check_schedule(schedule)
        await self._server.run("keep_schedule", schedule.name, schedule_text(schedule), *schedule.aliases)

    async def schedules(self) -> Timetable:
        return decoding.timetable_of(await self._server.run("schedules"))

    async def fire(self, firing: Firing) -> bool:
        return bool(await self._server.run("fire", *encoding.firing_fields(firing)))

    async def enable_schedule(self, name: str, enabled: bool = True) -> bool:
        return bool(await self._server.run("enable_schedule", name, int(enabled)))

    async def forget_schedule(self, name: str) -> bool:
        return bool(await self._server.run("forget_schedule", name))

    async def sweep(self, *, lease: float, limit: int = 200) -> Swept:
        lost, ended, removed, more, *times = await self._server.run("sweep", repr(lease), limit)
        return Swept(lost, ended, removed, bool(more), *map(decoding.time_of, times))

    async def remember(self, name: str, value: str) -> str:
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
        for piece, _ in pieces(ids, lambda _id: Weight(1, brought)):
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
        weigh: Callable[[Item], Weight],
    ) -> list[Any]:
        """Run a verb over all items, a piece at a time, so that no script holds the server up for long."""
        answers: list[Any] = []
        for piece, _ in pieces(items, weigh):
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
    return spec if is_storable(spec.arguments) else replace(spec, arguments=storable(spec.arguments))
