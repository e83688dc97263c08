"""The store contract on SQLite: each verb goes to the thread that runs it, cut into pieces that hold nobody up."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import apsw

from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.event import Cursor, Reading
from sidelane.model.job import Gone, JobRecord, JobSpec, Lease, Query, Refusal, Submission
from sidelane.model.outcome import Append, Report, Verdict
from sidelane.model.schedule import Firing, Schedule, Timetable
from sidelane.model.worker import ClaimRequest, Claims, LimitStats, Place, QueueStats, Swept, WorkerInfo
from sidelane.stores.contract import Wakeups
from sidelane.stores.pieces import (
    Weight,
    pieces,
    weight_of_append,
    weight_of_one,
    weight_of_report,
    weight_of_spec,
)
from sidelane.stores.sqlite.dangers import dangers_of
from sidelane.stores.sqlite.database import Database
from sidelane.stores.sqlite.marks import Mark, look
from sidelane.stores.sqlite.reader import Reader
from sidelane.stores.sqlite.touched import Touched
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
from sidelane.stores.sqlite.watching import Watching
from sidelane.stores.sqlite.writer import Writer

T = TypeVar("T")
Item = TypeVar("Item")


class SqliteStore:
    """Jobs in one SQLite database. It belongs to the event loop that opened it."""

    def __init__(
        self, writer: Writer, watching: Watching, readers: tuple[Reader, Reader] | None, dangers: Sequence[str]
    ) -> None:
        self._writer = writer
        self._watching = watching
        self._readers = readers  # none in memory: there everything goes through the one connection
        self.description = f"SQLite {apsw.sqlite_lib_version()}"
        self.dangers = dangers

    @classmethod
    async def open(cls, path: str, clock: Callable[[], float]) -> "SqliteStore":
        """Open the database in the file `path` (or `:memory:`), making it where there is none."""
        loop = asyncio.get_running_loop()
        database = Database(path)
        watching = Watching(loop)
        connection = await asyncio.to_thread(database.open_writer)
        readers = None
        if database.shared:
            quick, slow, poller = [await asyncio.to_thread(database.open_reader) for _ in range(3)]
            readers = Reader(database, quick, clock, loop), Reader(database, slow, clock, loop)
            watching.poll(poller)
        writer = Writer(database, connection, clock, loop, watching)
        return cls(writer, watching, readers, await asyncio.to_thread(dangers_of, database))

    async def submit(self, specs: Sequence[JobSpec]) -> list[Submission | Refusal]:
        return await self._cut(submit, specs, weight_of_spec)

    async def claim(self, request: ClaimRequest) -> Claims:
        return await self._writer.call(
            lambda connection, now, touched: claim(connection, now, touched, request), items=request.limit
        )

    async def heartbeat(self, worker: WorkerInfo, leases: Sequence[Lease], *, lease: float) -> list[Verdict]:
        return await self._writer.call(
            lambda connection, now, touched: heartbeat(connection, now, touched, worker, leases, lease),
            items=len(leases),
            durable=False,
        )

    async def append(self, appends: Sequence[Append]) -> list[bool]:
        return await self._cut(append, appends, weight_of_append, durable=False)

    async def finish(self, reports: Sequence[Report]) -> list[bool]:
        return await self._cut(finish, reports, weight_of_report)

    async def cancel(self, ids: Sequence[str]) -> list[JobRecord | None]:
        return await self._cut(cancel, ids, weight_of_one)

    async def requeue(self, ids: Sequence[str], *, arguments: str | None = None) -> list[JobRecord | Refusal | None]:
        return await self._cut(
            lambda connection, now, touched, piece: requeue(connection, now, touched, piece, arguments),
            ids,
            lambda _id: Weight(1, len(arguments or "")),
        )

    async def remove(self, ids: Sequence[str]) -> list[bool]:
        return await self._cut(remove, ids, weight_of_one)

    async def get(self, ids: Sequence[str]) -> list[JobRecord | Gone | None]:
        return await self._read(lambda connection, now: get(connection, now, ids))

    async def find(self, query: Query) -> list[JobRecord]:
        if query.finds_nothing:
            return []
        return await self._read(lambda connection, now: find(connection, now, query), slow=True)

    async def position(self, job_id: str) -> Place | None:
        return await self._read(lambda connection, now: position(connection, now, job_id))

    async def read(self, job_id: str, *, after: Cursor | None = None, limit: int = 500) -> Reading | None:
        return await self._read(lambda connection, now: read(connection, now, job_id, after, limit))

    def watch(self, *topics: str) -> AbstractAsyncContextManager[Wakeups]:
        return self._watching.watch(topics, self._marks if self._readers else None)

    async def listen(self, ids: Sequence[str]) -> None:
        for piece, weight in pieces(ids, weight_of_one):
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

    async def keep_schedule(self, schedule: Schedule) -> None:
        await self._writer.call(lambda connection, now, touched: keep_schedule(connection, now, touched, schedule))

    async def schedules(self) -> Timetable:
        return await self._read(schedules)

    async def fire(self, firing: Firing) -> bool:
        return await self._writer.call(
            lambda connection, now, touched: fire(connection, now, touched, firing), items=1 + len(firing.specs)
        )

    async def enable_schedule(self, name: str, enabled: bool = True) -> bool:
        return await self._writer.call(
            lambda connection, now, touched: enable_schedule(connection, now, touched, name, enabled)
        )

    async def forget_schedule(self, name: str) -> bool:
        return await self._writer.call(lambda connection, now, touched: forget_schedule(connection, now, touched, name))

    async def sweep(self, *, lease: float, limit: int = 200) -> Swept:
        return await self._writer.call(
            lambda connection, now, touched: sweep(connection, now, touched, lease, limit),
            durable=False,  # what a power cut undoes of it, the next sweep does again
        )

    async def remember(self, name: str, value: str) -> str:
        return await self._writer.call(lambda connection, now, touched: remember(connection, now, touched, name, value))

    async def close(self) -> None:
        await self._watching.close()
        await asyncio.gather(self._writer.close(), *(reader.close() for reader in self._readers or ()))

    async def _cut(
        self,
        verb: Callable[[apsw.Connection, float, Touched, Sequence[Item]], list[T]],
        items: Sequence[Item],
        weigh: Callable[[Item], Weight],
        *,
        durable: bool = True,
    ) -> list[T]:
        """Run a verb over all items, a piece at a time, so that other calls have their turn in between."""
        answers: list[T] = []
        for piece, weight in pieces(items, weigh):
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

    async def _marks(self, topics: Sequence[str]) -> dict[str, Mark]:
        return await self._read(lambda connection, _now: look(connection, topics))


def _over(
    verb: Callable[[apsw.Connection, float, Touched, Sequence[Item]], T], items: Sequence[Item]
) -> Callable[[apsw.Connection, float, Touched], T]:
    return lambda connection, now, touched: verb(connection, now, touched, items)
