"""`RedisStore`, the store contract on Redis, with one script per verb. Calls that are too large for one script run in chunks."""

import sys
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Any, TypeVar

from sidelane.coalescing import CallCoalescer
from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.event import Cursor, EventPage
from sidelane.model.history import HistoryCell, HistoryQuery, UserUsage
from sidelane.model.job import JobPage, JobRecord, JobSpec, Lease, Query, Rejection, Submission, Tombstone
from sidelane.model.json_text import escape_surrogates, is_storable
from sidelane.model.limit_override import MAX_OVERRIDES, LimitOverride
from sidelane.model.outcome import AttemptResult, EventAppend, LeaseStatus
from sidelane.model.schedule import Schedule, ScheduleList, ScheduleTick
from sidelane.model.shared_state import (
    JournalAppend,
    JournalEntry,
    ValueChange,
    VersionedValue,
    is_name,
    name_range,
)
from sidelane.model.store_info import StoreInfo
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
from sidelane.stores.contract import MAX_PAGE_BYTES, MAX_PAGE_ITEMS, Subscription
from sidelane.stores.problems import WORKER_LOST
from sidelane.stores.redis import arguments, history, maintenance, preflight, replies
from sidelane.stores.redis.connection import Server
from sidelane.stores.redis.notifications import Notifier
from sidelane.stores.redis.url import RedisUrl
from sidelane.stores.serialization import dump_problem, dump_schedule, dump_worker, dumps, load_worker
from sidelane.stores.validation import check_batch, check_schedule, spec_problem

_MAX_POSITION = 1000  # `queue_position` counts no further
_SCAN_COUNT = 1000  # members per step of SSCAN
_MAX_READ_SIZE = 262_144  # bytes of events in one reply, plus at most one event per log
_MAX_NUMBER = 2**52  # a Lua number holds it exactly
_LEASE_STATUSES = (LeaseStatus.LOST, LeaseStatus.HELD, LeaseStatus.CANCEL)

Item = TypeVar("Item")


class RedisStore:
    """A store on one Redis or Valkey server. Use it only in the event loop that opened it."""

    submit_batch_size = 50  # the server runs one call while the process prepares the next

    def __init__(self, server: Server, notifier: Notifier, prefix: str, info: preflight.ServerInfo) -> None:
        self._server = server
        self._prefix = prefix
        self._notifier = notifier
        self._reads = CallCoalescer(self._read)
        self.description, self.durability_warnings = info

    @classmethod
    async def open(cls, url: str, clock: Callable[[], float] = time.time) -> "RedisStore":
        """Open the store at `url` after checking its server. Raises `StoreError` or `ConfigurationError`."""
        parsed = RedisUrl.parse(url)
        server = Server(parsed, clock)
        try:
            info = await preflight.check_server(server, parsed.prefix, parsed.name)
        except BaseException:
            await server.close()
            raise
        return cls(server, Notifier(parsed, server), parsed.prefix, info)

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        problems = [spec_problem(spec) for spec in specs]
        valid = [_storable(spec) for spec, problem in zip(specs, problems, strict=True) if problem is None]
        answers: list[Submission | Rejection] = []
        for chunk, _ in chunks(valid, cost_of_spec):
            fields = [field for spec in chunk for field in arguments.submission_fields(spec)]
            now, *found = await self._server.run("submit", len(chunk), *fields)
            at = float(now)
            answers += [replies.submission_of(spec, answer, at) for spec, answer in zip(chunk, found, strict=True)]
        submissions = iter(answers)
        return [Rejection(problem) if problem else next(submissions) for problem in problems]

    async def claim(self, request: ClaimRequest) -> Claims:
        again, expired = True, list[str]()
        answer: Any = ()
        while again:
            notifier = self._notifier
            fields = arguments.claim_fields(request, notifier.watcher, notifier.queues)
            answer = await self._server.run("claim", *fields)
            again = bool(answer[0])
            expired += answer[4]
        return replies.claims_of(answer, expired)

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]:
        info = "" if worker.health == STOPPED else dump_worker(worker)
        fields = [field for each in leases for field in arguments.lease_fields(each)]
        loss = dumps([dump_problem(WORKER_LOST), worker.exit, ""]) if worker.exit else ""
        answers = await self._server.run("heartbeat", worker.id, info, loss, repr(lease), len(leases), *fields)
        return [_LEASE_STATUSES[answer] for answer in answers]

    async def append(self, appends: Sequence[EventAppend]) -> list[bool]:
        return [
            bool(each) for each in await self._run_chunks("append", appends, arguments.append_fields, cost_of_append)
        ]

    async def finish(self, reports: Sequence[AttemptResult]) -> list[bool]:
        return [
            bool(each) for each in await self._run_chunks("finish", reports, arguments.report_fields, cost_of_result)
        ]

    async def cancel(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return [answer and replies.record_of(answer) for answer in await self._run_ids("cancel", ids)]

    async def requeue(self, ids: Sequence[str], *, arguments: str | None = None) -> list[JobRecord | Rejection | None]:
        new_arguments = "" if arguments is None else escape_surrogates(arguments)
        return [replies.requeued_of(answer) for answer in await self._run_ids("requeue", ids, new_arguments)]

    async def remove(self, ids: Sequence[str]) -> list[bool]:
        return [bool(answer) for answer in await self._run_ids("remove", ids)]

    async def get(self, ids: Sequence[str]) -> list[JobRecord | Tombstone | None]:
        return list(map(replies.lookup_of, ids, await self._run_ids("get", ids)))

    async def list_jobs(self, query: Query) -> list[JobRecord]:
        return list((await self.search_jobs(query, scan=sys.maxsize)).records)

    async def search_jobs(self, query: Query, *, scan: int) -> JobPage:
        found: list[JobRecord] = []
        before = "" if query.before is None else str(query.before)
        fields, scanned = arguments.query_fields(query), 0
        while len(found) < query.limit and scanned < scan and not query.finds_nothing:
            size = min(MAX_ITEMS, scan - scanned)
            before, *answers = await self._server.run("list_jobs", before, size, *fields)
            records = map(replies.record_of, answers)
            found += [replace(record, history=()) for record in records if replies.matches(record, query)]
            scanned += size
            if not before:
                break
        if len(found) >= query.limit:
            return JobPage(found[: query.limit], scanned, found[query.limit - 1].sequence)
        return JobPage(found, scanned, int(before) if before else None)

    async def waiting_jobs(
        self, limit_id: str, *, after: tuple[int, int] | None = None, limit: int = MAX_PAGE_ITEMS
    ) -> list[JobRecord]:
        if limit < 1 or not is_storable(limit_id):
            return []
        priority, sequence = after or (None, None)
        answers = await self._server.run("waiting_jobs", limit_id, priority, sequence, min(limit, MAX_PAGE_ITEMS))
        records = [replace(replies.record_of(answer), history=()) for answer in answers]
        # a limit that was changed from slots to a rate, or back, has a page of each
        return sorted(records, key=lambda record: (-record.spec.priority, record.sequence))[:limit]

    async def queue_position(self, job_id: str) -> QueuePosition | None:
        answer = await self._server.run("queue_position", job_id, _MAX_POSITION)
        return None if answer is None else replies.position_of(answer)

    async def read(self, job_id: str, *, after: Cursor | None = None, limit: int = 500) -> EventPage | None:
        cursor = ("", "") if after is None else (after.number, after.epoch)
        answer = await self._reads((job_id, *cursor, limit))
        return None if answer is None else replies.event_page_of(job_id, answer)

    async def read_last(self, job_id: str, *, before: int | None = None, limit: int = 500) -> EventPage | None:
        number = "" if before is None else before
        answer = await self._server.run("read_last", job_id, number, limit, _MAX_READ_SIZE)
        return None if answer is None else replies.event_page_of(job_id, answer)

    def watch(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        return self._notifier.watch(topics)

    async def touch_listeners(self, ids: Sequence[str]) -> None:
        for chunk, _ in chunks(ids, cost_of_one):
            await self._server.run("touch_listeners", *chunk)

    async def pause(self, queue: str, paused: bool = True) -> None:
        await self._server.run("pause", queue, int(paused))

    async def workers(self) -> list[WorkerInfo]:
        return list(map(load_worker, await self._server.run("workers")))

    async def stats(self) -> list[QueueStats]:
        return sorted(map(replies.stats_of, await self._server.run("stats")), key=lambda each: each.name)

    async def limits(self) -> list[LimitStats]:
        found: list[LimitStats] = []
        for chunk, _ in chunks(sorted(await self._limit_ids()), cost_of_one):
            found += map(replies.limit_stats_of, await self._server.run("limits", *chunk))
        return found

    async def override_limit(self, override: LimitOverride) -> bool:
        return bool(await self._server.run("override_limit", *arguments.override_fields(override)))

    async def restore_limit(self, override_id: str) -> bool:
        return bool(await self._server.run("override_limit", override_id, MAX_OVERRIDES))

    async def limit_overrides(self) -> list[LimitOverride]:
        found = await self._server.run("limit_overrides")
        return sorted(map(replies.override_of, found), key=lambda override: override.id)

    async def open_batch(self, spec: BatchSpec) -> BatchRecord:
        check_batch(spec)
        return replies.batch_record_of(await self._server.run("open_batch", *arguments.batch_fields(spec)))

    async def seal_batch(self, batch_id: str) -> BatchRecord | None:
        answer = await self._server.run("seal_batch", batch_id)
        return answer and replies.batch_record_of(answer)

    async def get_batch(self, batch_id: str) -> BatchRecord | None:
        answer = await self._server.run("get_batch", batch_id)
        return answer and replies.batch_record_of(answer)

    async def pause_batch(self, batch_id: str, paused: bool = True) -> BatchRecord | None:
        answer = await self._server.run("pause_batch", batch_id, int(paused))
        return answer and replies.batch_record_of(answer)

    async def upsert_schedule(self, schedule: Schedule) -> None:
        check_schedule(schedule)
        await self._server.run("upsert_schedule", schedule.name, dump_schedule(schedule), *schedule.aliases)

    async def list_schedules(self) -> ScheduleList:
        return replies.schedules_of(await self._server.run("list_schedules"))

    async def fire(self, tick: ScheduleTick) -> bool:
        return bool(await self._server.run("fire", *arguments.tick_fields(tick)))

    async def set_schedule_enabled(self, name: str, enabled: bool = True) -> bool:
        return bool(await self._server.run("set_schedule_enabled", name, int(enabled)))

    async def delete_schedule(self, name: str) -> bool:
        return bool(await self._server.run("delete_schedule", name))

    async def read_values(self, names: Sequence[str]) -> list[VersionedValue | None]:
        valid = [name for name in names if is_name(name)]
        answers: list[Any] = []
        while len(answers) < len(valid):  # an answer ends early if its texts are large
            batch = valid[len(answers) : len(answers) + MAX_ITEMS]
            answers += await self._server.run("read_values", MAX_PAGE_BYTES, *batch)
        values = map(replies.value_of, answers)
        return [next(values) if is_name(name) else None for name in names]

    async def list_values(
        self, prefix: str = "", *, after: str | None = None, limit: int = MAX_PAGE_ITEMS
    ) -> list[VersionedValue]:
        names = name_range(prefix, after)
        if names is None or limit < 1:
            return []
        answers = await self._server.run("list_values", *names, min(limit, MAX_PAGE_ITEMS), MAX_PAGE_BYTES)
        return list(filter(None, map(replies.value_of, answers)))

    async def set_value(self, change: ValueChange) -> bool:
        return bool(await self._server.run("set_value", *arguments.value_fields(change)))

    async def append_entries(self, append: JournalAppend) -> list[int]:
        if not append.texts:
            return []
        first: int = await self._server.run("append_entries", *arguments.journal_fields(append))
        return list(range(first, first + len(append.texts)))

    async def read_journal(
        self, journal: str, *, before: int | None = None, limit: int = MAX_PAGE_ITEMS
    ) -> list[JournalEntry]:
        if not is_name(journal) or limit < 1:
            return []
        end = None if before is None else max(0, min(before, _MAX_NUMBER))
        answer = await self._server.run("read_journal", journal, end, min(limit, MAX_PAGE_ITEMS), MAX_PAGE_BYTES)
        return replies.journal_entries_of(answer)

    async def history(self, query: HistoryQuery) -> list[HistoryCell]:
        return await history.read_cells(self._server, query)

    async def totals(self) -> list[HistoryCell]:
        return await history.read_totals(self._server)

    async def top_users(self, since: float, until: float) -> list[UserUsage]:
        return await history.read_top_users(self._server, since, until)

    async def sweep(self, *, lease: float, limit: int = 200) -> SweepResult:
        lost, ended, removed, more, next_loss, next_firing, ids = await self._server.run("sweep", repr(lease), limit)
        return SweepResult(
            lost, ended, removed, bool(more), replies.time_of(next_loss), replies.time_of(next_firing), tuple(ids)
        )

    async def get_or_set(self, name: str, value: str) -> str:
        stored: str = await self._server.run("get_or_set", name, value)
        return stored

    async def info(self) -> StoreInfo:
        return await maintenance.read_info(self._server, self._prefix)

    async def vacuum(self) -> None:
        raise maintenance.no_vacuum()

    async def backup(self, path: str, *, overwrite: bool = False) -> None:
        raise maintenance.no_backup()

    async def close(self) -> None:
        await self._notifier.close()
        await self._server.close()

    async def _read(self, reads: Sequence[Sequence[str | int]]) -> list[Any]:
        """Read several logs in one call, because the readers of a worker's jobs wake together when the worker writes its events."""
        fields = [field for each in reads for field in each]
        answers: list[Any] = await self._server.run("read", _MAX_READ_SIZE, len(reads), *fields)
        return answers

    async def _run_ids(self, verb: str, ids: Sequence[str], *before: str) -> list[Any]:
        """Run a verb whose last arguments are ids, in chunks. Every chunk begins with `before`."""
        answers: list[Any] = []
        size = sum(map(len, before))  # which each item may store
        for chunk, _ in chunks(ids, lambda _id: Cost(1, size)):
            answers += await self._server.run(verb, *before, *chunk)
        return answers

    async def _limit_ids(self) -> set[str]:
        """Return the limits that are used or waited for, and some that were until lately."""
        found, cursor = set[str](), "0"
        while True:
            cursor, ids = await self._server.command("SSCAN", f"{self._prefix}:limit_ids", cursor, "COUNT", _SCAN_COUNT)
            found.update(ids)
            if cursor == "0":
                return found

    async def _run_chunks(
        self,
        verb: str,
        items: Sequence[Item],
        encode: Callable[[Item], Iterable[Any]],
        cost_of: Callable[[Item], Cost],
    ) -> list[Any]:
        """Run a verb over all items in chunks, so that no script blocks the server for long."""
        answers: list[Any] = []
        for chunk, _ in chunks(items, cost_of):
            arguments = [argument for item in chunk for argument in encode(item)]
            answers += await self._server.run(verb, len(chunk), *arguments)
        return answers


def _storable(spec: JobSpec) -> JobSpec:
    """Return the spec as reads will return it, with escaped lone surrogates in its arguments."""
    return spec if is_storable(spec.arguments) else replace(spec, arguments=escape_surrogates(spec.arguments))
