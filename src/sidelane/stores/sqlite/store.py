"""SqliteStore: the store contract on SQLite. Each verb runs on an executor, and large calls run in chunks."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from typing import TypeVar, TypeVarTuple

import apsw

from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.errors import MaintenanceRefused
from sidelane.model.event import Cursor, EventPage
from sidelane.model.history import HistoryCell, HistoryQuery, UserUsage
from sidelane.model.job import JobPage, JobRecord, JobSpec, Lease, Query, Rejection, Submission, Tombstone
from sidelane.model.json_text import is_storable
from sidelane.model.limit_override import LimitOverride
from sidelane.model.outcome import AttemptResult, EventAppend, LeaseStatus
from sidelane.model.schedule import Schedule, ScheduleList, ScheduleTick
from sidelane.model.shared_state import JournalAppend, JournalEntry, ValueChange, VersionedValue
from sidelane.model.store_info import StoreInfo
from sidelane.model.worker import ClaimRequest, Claims, LimitStats, QueuePosition, QueueStats, SweepResult, WorkerInfo
from sidelane.stores.chunking import Cost, chunks, cost_of_append, cost_of_one, cost_of_result, cost_of_spec
from sidelane.stores.contract import MAX_PAGE_ITEMS, Subscription
from sidelane.stores.sqlite import maintenance
from sidelane.stores.sqlite.batches import get_batch, open_batch, seal_batch
from sidelane.stores.sqlite.connection import Database
from sidelane.stores.sqlite.event_log import append, read, read_last
from sidelane.stores.sqlite.executor import ReadExecutor, WriteExecutor
from sidelane.stores.sqlite.health import durability_warnings
from sidelane.stores.sqlite.limit_overrides import overrides
from sidelane.stores.sqlite.notifications import Notifier, Version, versions_of
from sidelane.stores.sqlite.paused_batches import pause_batch
from sidelane.stores.sqlite.sql import Transaction
from sidelane.stores.sqlite.verbs.claim import claim
from sidelane.stores.sqlite.verbs.finish import finish
from sidelane.stores.sqlite.verbs.heartbeat import heartbeat, touch_listeners, workers
from sidelane.stores.sqlite.verbs.history import history, top_users, totals
from sidelane.stores.sqlite.verbs.manage import (
    cancel,
    get_or_set,
    override_limit,
    pause,
    remove,
    requeue,
    restore_limit,
)
from sidelane.stores.sqlite.verbs.query import get, limits, list_jobs, queue_position, search_jobs, stats, waiting_jobs
from sidelane.stores.sqlite.verbs.schedules import (
    delete_schedule,
    fire,
    list_schedules,
    set_schedule_enabled,
    upsert_schedule,
)
from sidelane.stores.sqlite.verbs.shared_state import (
    append_entries,
    list_values,
    read_journal,
    read_values,
    set_value,
)
from sidelane.stores.sqlite.verbs.submit import submit
from sidelane.stores.sqlite.verbs.sweep import sweep

T = TypeVar("T")
Item = TypeVar("Item")
Ts = TypeVarTuple("Ts")


class SqliteStore:
    """Jobs in one SQLite database, for the event loop that opened it."""

    submit_batch_size = (
        100  # the writer's thread competes with the loop for the interpreter, so few large calls are faster
    )

    def __init__(
        self,
        database: Database,
        writer: WriteExecutor,
        notifier: Notifier,
        readers: tuple[ReadExecutor, ReadExecutor] | None,
        warnings: Sequence[str],
    ) -> None:
        self._database = database
        self._writer = writer
        self._notifier = notifier
        self._readers = readers  # None in memory, where the writer's connection is the only one
        self.description = f"SQLite {apsw.sqlite_lib_version()}"
        self.durability_warnings = warnings

    @classmethod
    async def open(cls, path: str, clock: Callable[[], float]) -> "SqliteStore":
        """Open the database in the file `path` (or `:memory:`), and create it if it does not exist."""
        loop = asyncio.get_running_loop()
        database = Database(path)
        notifier = Notifier(loop)
        connection = await asyncio.to_thread(database.open_writer)
        readers = None
        if database.shared:
            quick, slow, poller = [await asyncio.to_thread(database.open_reader) for _ in range(3)]
            readers = ReadExecutor(database, quick, clock, loop), ReadExecutor(database, slow, clock, loop)
            notifier.poll(poller)
        writer = WriteExecutor(database, connection, clock, loop, notifier)
        return cls(database, writer, notifier, readers, await asyncio.to_thread(durability_warnings, database))

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        return await self._write_chunks(submit, specs, cost_of_spec)

    async def claim(self, request: ClaimRequest) -> Claims:
        return await self._writer.call(claim, request, items=request.limit)

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]:
        return await self._writer.call(heartbeat, worker, leases, lease, items=len(leases), durable=False)

    async def append(self, appends: Sequence[EventAppend]) -> list[bool]:
        return await self._write_chunks(append, appends, cost_of_append, durable=False)

    async def finish(self, reports: Sequence[AttemptResult]) -> list[bool]:
        return await self._write_chunks(finish, reports, cost_of_result)

    async def cancel(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return await self._write_chunks(cancel, ids, cost_of_one)

    async def requeue(self, ids: Sequence[str], *, arguments: str | None = None) -> list[JobRecord | Rejection | None]:
        cost = Cost(1, len(arguments or ""))
        return await self._write_chunks(requeue, ids, lambda _id: cost, arguments)

    async def remove(self, ids: Sequence[str]) -> list[bool]:
        return await self._write_chunks(remove, ids, cost_of_one)

    async def get(self, ids: Sequence[str]) -> list[JobRecord | Tombstone | None]:
        return await self._read(get, ids)

    async def list_jobs(self, query: Query) -> list[JobRecord]:
        if query.finds_nothing:
            return []
        return await self._read(list_jobs, query, slow=True)

    async def search_jobs(self, query: Query, *, scan: int) -> JobPage:
        if query.finds_nothing:
            return JobPage()
        return await self._read(search_jobs, query, scan, slow=True)

    async def waiting_jobs(
        self, limit_id: str, *, after: tuple[int, int] | None = None, limit: int = MAX_PAGE_ITEMS
    ) -> list[JobRecord]:
        if limit < 1 or not is_storable(limit_id):
            return []
        return await self._read(waiting_jobs, limit_id, after, min(limit, MAX_PAGE_ITEMS), slow=True)

    async def queue_position(self, job_id: str) -> QueuePosition | None:
        return await self._read(queue_position, job_id)

    async def read(self, job_id: str, *, after: Cursor | None = None, limit: int = 500) -> EventPage | None:
        return await self._read(read, job_id, after, limit)

    async def read_last(self, job_id: str, *, before: int | None = None, limit: int = 500) -> EventPage | None:
        return await self._read(read_last, job_id, before, limit)

    def watch(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        return self._notifier.watch(topics, self._versions if self._readers else None)

    async def touch_listeners(self, ids: Sequence[str]) -> None:
        for chunk, cost in chunks(ids, cost_of_one):
            await self._writer.call(touch_listeners, chunk, items=cost.items, durable=False)

    async def pause(self, queue: str, paused: bool = True) -> None:
        await self._writer.call(pause, queue, paused)

    async def workers(self) -> list[WorkerInfo]:
        return await self._read(workers)

    async def stats(self) -> list[QueueStats]:
        return await self._read(stats, slow=True)

    async def limits(self) -> list[LimitStats]:
        return await self._read(limits, slow=True)

    async def override_limit(self, override: LimitOverride) -> bool:
        return await self._writer.call(override_limit, override)

    async def restore_limit(self, override_id: str) -> bool:
        return await self._writer.call(restore_limit, override_id)

    async def limit_overrides(self) -> list[LimitOverride]:
        return await self._read(overrides)

    async def open_batch(self, spec: BatchSpec) -> BatchRecord:
        return await self._writer.call(open_batch, spec)

    async def seal_batch(self, batch_id: str) -> BatchRecord | None:
        return await self._writer.call(seal_batch, batch_id)

    async def get_batch(self, batch_id: str) -> BatchRecord | None:
        return await self._read(get_batch, batch_id)

    async def pause_batch(self, batch_id: str, paused: bool = True) -> BatchRecord | None:
        return await self._writer.call(pause_batch, batch_id, paused)

    async def upsert_schedule(self, schedule: Schedule) -> None:
        await self._writer.call(upsert_schedule, schedule)

    async def list_schedules(self) -> ScheduleList:
        return await self._read(list_schedules)

    async def fire(self, firing: ScheduleTick) -> bool:
        return await self._writer.call(fire, firing, items=1 + len(firing.specs))

    async def set_schedule_enabled(self, name: str, enabled: bool = True) -> bool:
        return await self._writer.call(set_schedule_enabled, name, enabled)

    async def delete_schedule(self, name: str) -> bool:
        return await self._writer.call(delete_schedule, name)

    async def read_values(self, names: Sequence[str]) -> list[VersionedValue | None]:
        return await self._read(read_values, names)

    async def list_values(
        self, prefix: str = "", *, after: str | None = None, limit: int = MAX_PAGE_ITEMS
    ) -> list[VersionedValue]:
        return await self._read(list_values, prefix, after, limit)

    async def set_value(self, change: ValueChange) -> bool:
        return await self._writer.call(set_value, change, size=len(change.text or ""))

    async def append_entries(self, append: JournalAppend) -> list[int]:
        size = sum(map(len, append.texts))
        return await self._writer.call(append_entries, append, items=len(append.texts), size=size)

    async def read_journal(
        self, journal: str, *, before: int | None = None, limit: int = MAX_PAGE_ITEMS
    ) -> list[JournalEntry]:
        return await self._read(read_journal, journal, before, limit)

    async def history(self, query: HistoryQuery) -> list[HistoryCell]:
        return await self._read(history, query, slow=True)

    async def totals(self) -> list[HistoryCell]:
        return await self._read(totals, slow=True)

    async def top_users(self, since: float, until: float) -> list[UserUsage]:
        return await self._read(top_users, since, until, slow=True)

    async def sweep(self, *, lease: float, limit: int = 200) -> SweepResult:
        # not durable: if a power failure undoes a sweep, the next one repeats it
        return await self._writer.call(sweep, lease, limit, durable=False)

    async def get_or_set(self, name: str, value: str) -> str:
        return await self._writer.call(get_or_set, name, value)

    async def info(self) -> StoreInfo:
        return await self._read(maintenance.info, self._database, slow=True)

    async def vacuum(self) -> None:
        await asyncio.to_thread(maintenance.vacuum, self._database)

    async def backup(self, path: str, *, overwrite: bool = False) -> None:
        stopped = threading.Event()
        copying = asyncio.ensure_future(
            asyncio.to_thread(maintenance.backup, self._database, path, stopped, overwrite=overwrite)
        )
        try:
            await asyncio.shield(copying)
        except asyncio.CancelledError:
            stopped.set()
            with suppress(MaintenanceRefused):
                await copying  # so that no part of the file is left
            raise

    async def close(self) -> None:
        await self._notifier.close()
        await asyncio.gather(self._writer.close(), *(reader.close() for reader in self._readers or ()))

    async def _write_chunks(
        self,
        verb: Callable[[Transaction, Sequence[Item], *Ts], list[T]],
        items: Sequence[Item],
        cost_of: Callable[[Item], Cost],
        *args: *Ts,
        durable: bool = True,
    ) -> list[T]:
        """Run a verb over all items in chunks, so that other calls run in between."""
        results: list[T] = []
        for chunk, (count, size) in chunks(items, cost_of):
            results += await self._writer.call(verb, chunk, *args, items=count, size=size, durable=durable)
        return results

    async def _read(self, verb: Callable[[Transaction, *Ts], T], *args: *Ts, slow: bool = False) -> T:
        """Run a reading verb. Verbs that may read many jobs have their own thread, so that event streams do not wait."""
        if self._readers is None:
            return await self._writer.call(verb, *args, durable=False)
        return await self._readers[slow].call(verb, *args)

    async def _versions(self, topics: Sequence[str]) -> dict[str, Version]:
        return await self._read(versions_of, topics)
