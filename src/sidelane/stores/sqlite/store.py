"""The store contract on SQLite: each verb goes to the thread that runs it, cut into pieces that hold nobody up."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import apsw

from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.event import Cursor, EventPage
from sidelane.model.job import JobRecord, JobSpec, Lease, Query, Rejection, Submission, Tombstone
from sidelane.model.outcome import AttemptResult, EventAppend, LeaseStatus
from sidelane.model.schedule import Schedule, ScheduleList, ScheduleTick
from sidelane.model.worker import ClaimRequest, Claims, LimitStats, QueuePosition, QueueStats, SweepResult, WorkerInfo
from sidelane.stores.chunking import Cost, chunks, cost_of_append, cost_of_one, cost_of_result, cost_of_spec
from sidelane.stores.contract import Subscription
from sidelane.stores.sqlite.connection import Database
from sidelane.stores.sqlite.health import durability_warnings
from sidelane.stores.sqlite.marks import Version, versions_of
from sidelane.stores.sqlite.notifications import Notifier
from sidelane.stores.sqlite.reader import ReadExecutor
from sidelane.stores.sqlite.touched import ChangeSet
from sidelane.stores.sqlite.verbs.append import append
from sidelane.stores.sqlite.verbs.batches import get_batch, open_batch, seal_batch
from sidelane.stores.sqlite.verbs.cancel import cancel
from sidelane.stores.sqlite.verbs.claim import claim
from sidelane.stores.sqlite.verbs.find import find
from sidelane.stores.sqlite.verbs.finish import finish
from sidelane.stores.sqlite.verbs.get import get
from sidelane.stores.sqlite.verbs.heartbeat import heartbeat
from sidelane.stores.sqlite.verbs.limits import limits
from sidelane.stores.sqlite.verbs.listen import listen
from sidelane.stores.sqlite.verbs.pause import pause
from sidelane.stores.sqlite.verbs.position import position
from sidelane.stores.sqlite.verbs.read import read
from sidelane.stores.sqlite.verbs.remember import remember
from sidelane.stores.sqlite.verbs.remove import remove
from sidelane.stores.sqlite.verbs.requeue import requeue
from sidelane.stores.sqlite.verbs.schedules import (
    enable_schedule,
    fire,
    forget_schedule,
    keep_schedule,
    schedules,
)
from sidelane.stores.sqlite.verbs.stats import stats
from sidelane.stores.sqlite.verbs.submit import submit
from sidelane.stores.sqlite.verbs.sweep import sweep
from sidelane.stores.sqlite.verbs.workers import workers
from sidelane.stores.sqlite.writer import WriteExecutor

T = TypeVar("T")
Item = TypeVar("Item")


class SqliteStore:
    """Jobs in one SQLite database. It belongs to the event loop that opened it."""

    def __init__(
        self,
        writer: WriteExecutor,
        watching: Notifier,
        readers: tuple[ReadExecutor, ReadExecutor] | None,
        dangers: Sequence[str],
    ) -> None:
        self._writer = writer
        self._watching = watching
        self._readers = readers  # none in memory: there everything goes through the one connection
        self.description = f"SQLite {apsw.sqlite_lib_version()}"
        self.durability_warnings = dangers

    @classmethod
    async def open(cls, path: str, clock: Callable[[], float]) -> "SqliteStore":
        """Open the database in the file `path` (or `:memory:`), making it where there is none."""
        loop = asyncio.get_running_loop()
        database = Database(path)
        watching = Notifier(loop)
        connection = await asyncio.to_thread(database.open_writer)
        readers = None
        if database.shared:
            quick, slow, poller = [await asyncio.to_thread(database.open_reader) for _ in range(3)]
            readers = ReadExecutor(database, quick, clock, loop), ReadExecutor(database, slow, clock, loop)
            watching.poll(poller)
        writer = WriteExecutor(database, connection, clock, loop, watching)
        return cls(writer, watching, readers, await asyncio.to_thread(durability_warnings, database))

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
        return await self._cut(submit, specs, cost_of_spec)

    async def claim(self, request: ClaimRequest) -> Claims:
        return await self._writer.call(
            lambda connection, now, touched: claim(connection, now, touched, request), items=request.limit
        )

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[LeaseStatus]:
        return await self._writer.call(
            lambda connection, now, touched: heartbeat(connection, now, touched, worker, leases, lease),
            items=len(leases),
            durable=False,
        )

    async def append(self, appends: Sequence[EventAppend]) -> list[bool]:
        return await self._cut(append, appends, cost_of_append, durable=False)

    async def finish(self, reports: Sequence[AttemptResult]) -> list[bool]:
        return await self._cut(finish, reports, cost_of_result)

    async def cancel(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return await self._cut(cancel, ids, cost_of_one)

    async def requeue(self, ids: Sequence[str], *, arguments: str | None = None) -> list[JobRecord | Rejection | None]:
        return await self._cut(
            lambda connection, now, touched, piece: requeue(connection, now, touched, piece, arguments),
            ids,
            lambda _id: Cost(1, len(arguments or "")),
        )

    async def remove(self, ids: Sequence[str]) -> list[bool]:
        return await self._cut(remove, ids, cost_of_one)

    async def get(self, ids: Sequence[str]) -> list[JobRecord | Tombstone | None]:
        return await self._read(lambda connection, now: get(connection, now, ids))

    async def list_jobs(self, query: Query) -> list[JobRecord]:
        if query.finds_nothing:
            return []
        return await self._read(lambda connection, now: find(connection, now, query), slow=True)

    async def queue_position(self, job_id: str) -> QueuePosition | None:
        return await self._read(lambda connection, now: position(connection, now, job_id))

    async def read(self, job_id: str, *, after: Cursor | None = None, limit: int = 500) -> EventPage | None:
        return await self._read(lambda connection, now: read(connection, now, job_id, after, limit))

    def watch(self, *topics: str) -> AbstractAsyncContextManager[Subscription]:
        return self._watching.watch(topics, self._marks if self._readers else None)

    async def touch_listeners(self, ids: Sequence[str]) -> None:
        for piece, weight in chunks(ids, cost_of_one):
            await self._writer.call(
                _over(listen, piece),
                items=weight.items,
                durable=False,
            )

    async def pause(self, queue: str, paused: bool = True) -> None:
        await self._writer.call(lambda connection, now, touched: pause(connection, now, touched, queue, paused))

    async def workers(self) -> list[WorkerInfo]:
        return await self._read(workers)

    async def stats(self) -> list[QueueStats]:
        return await self._read(stats, slow=True)

    async def limits(self) -> list[LimitStats]:
        return await self._read(limits, slow=True)

    async def open_batch(self, spec: BatchSpec) -> BatchRecord:
        return await self._writer.call(lambda connection, now, touched: open_batch(connection, now, touched, spec))

    async def seal_batch(self, batch_id: str) -> BatchRecord | None:
        return await self._writer.call(lambda connection, now, touched: seal_batch(connection, now, touched, batch_id))

    async def get_batch(self, batch_id: str) -> BatchRecord | None:
        return await self._read(lambda connection, now: get_batch(connection, now, batch_id))

    async def upsert_schedule(self, schedule: Schedule) -> None:
        await self._writer.call(lambda connection, now, touched: keep_schedule(connection, now, touched, schedule))

    async def list_schedules(self) -> ScheduleList:
        return await self._read(schedules)

    async def fire(self, firing: ScheduleTick) -> bool:
        return await self._writer.call(
            lambda connection, now, touched: fire(connection, now, touched, firing), items=1 + len(firing.specs)
        )

    async def set_schedule_enabled(self, name: str, enabled: bool = True) -> bool:
        return await self._writer.call(
            lambda connection, now, touched: enable_schedule(connection, now, touched, name, enabled)
        )

    async def delete_schedule(self, name: str) -> bool:
        return await self._writer.call(lambda connection, now, touched: forget_schedule(connection, now, touched, name))

    async def sweep(self, *, lease: float, limit: int = 200) -> SweepResult:
        return await self._writer.call(
            lambda connection, now, touched: sweep(connection, now, touched, lease, limit),
            durable=False,  # what a power cut undoes of it, the next sweep does again
        )

    async def get_or_set(self, name: str, value: str) -> str:
        return await self._writer.call(lambda connection, now, touched: remember(connection, now, touched, name, value))

    async def close(self) -> None:
        await self._watching.close()
        await asyncio.gather(self._writer.close(), *(reader.close() for reader in self._readers or ()))

    async def _cut(
        self,
        verb: Callable[[apsw.Connection, float, ChangeSet, Sequence[Item]], list[T]],
        items: Sequence[Item],
        weigh: Callable[[Item], Cost],
        *,
        durable: bool = True,
    ) -> list[T]:
        """Run a verb over all items, a piece at a time, so that other calls have their turn in between."""
        answers: list[T] = []
        for piece, weight in chunks(items, weigh):
            answers += await self._writer.call(
                _over(verb, piece),
                items=weight.items,
                size=weight.size,
                durable=durable,
            )
        return answers

    async def _read(self, verb: Callable[[apsw.Connection, float], T], *, slow: bool = False) -> T:
        """Run a verb that only reads. What may look at many jobs has a thread of its own, so that streams do not wait for it."""
        if self._readers is None:
            return await self._writer.call(lambda connection, now, _touched: verb(connection, now), durable=False)
        return await self._readers[slow].call(verb)

    async def _marks(self, topics: Sequence[str]) -> dict[str, Version]:
        return await self._read(lambda connection, _now: versions_of(connection, topics))


def _over(
    verb: Callable[[apsw.Connection, float, ChangeSet, Sequence[Item]], T], items: Sequence[Item]
) -> Callable[[apsw.Connection, float, ChangeSet], T]:
    return lambda connection, now, touched: verb(connection, now, touched, items)
