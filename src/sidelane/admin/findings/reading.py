"""Reading of facts from a store, with few calls of bounded size."""

import asyncio
import json
import math
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from sidelane.admin.findings.facts import RECENT, Facts, SizeSample, WorkerExit
from sidelane.admin.findings.memory import MEMORY, Memory, load_memory
from sidelane.admin.findings.mutes import MUTES, load_mutes
from sidelane.admin.findings.store_rules import used_size
from sidelane.client.declarations import DECLARATIONS, load_declarations
from sidelane.client.pauses import PAUSES, load_pauses
from sidelane.model.durations import DAY
from sidelane.model.history import HOUR, MINUTE, HistoryCell, HistoryQuery
from sidelane.model.job import JobRecord, Query, State
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.shared_state import JournalEntry, VersionedValue
from sidelane.model.worker import WORKER_EXITS
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import CALLBACK_TASK

PAGE_SIZE = 200
"""Jobs that are read in one call."""

MAX_RUNNING, MAX_FAILED = 1000, 400
"""The newest running and failed jobs that are read."""

DAY_HISTORY_LIFETIME = 60.0
"""Seconds for which the history of the last day is not read again, because it shows only what is usual."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Facts, what is remembered with them and the value that it was read from, and until when findings are muted."""

    facts: Facts
    memory: Memory
    remembered: VersionedValue | None
    mutes: Mapping[str, float]


class FactReader:
    """Reads the facts of one store repeatedly, and keeps what rarely changes between two reads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._day: list[HistoryCell] = []
        self._day_read = -math.inf
        self._failed: dict[tuple[str, float | None], JobRecord] = {}

    async def read(self) -> Reading:
        """Read everything that findings are about. Raises `StoreError`."""
        store = self._store
        schedules, values = await asyncio.gather(
            store.list_schedules(), store.read_values([MEMORY, MUTES, DECLARATIONS, PAUSES])
        )
        now, (remembered, mutes, declarations, paused) = schedules.now, values
        pauses = load_pauses(paused)
        info, queues, workers, limits = await asyncio.gather(
            store.info(), store.stats(), store.workers(), store.limits()
        )
        recent, running, exits = await asyncio.gather(
            store.history(HistoryQuery(since=now - RECENT, until=now + MINUTE)),
            self._read_running(),
            store.read_journal(WORKER_EXITS),
        )
        failed = await self._read_failed()
        memory = load_memory(remembered).with_server(info.server, now)
        facts = Facts(
            now=now, declared=load_declarations(declarations), queues=queues, workers=workers, limits=limits,
            schedules=schedules.records, recent=recent, day=await self._read_day(now), running=_without_internal(running),
            failed=_without_internal(failed), exits=list(worker_exits(exits)), store=info,
            failed_callbacks=[each for each in failed if each.spec.task == CALLBACK_TASK],
            durability_warnings=store.durability_warnings, samples=memory.samples, server_changed=memory.server_changed,
            alert_error=memory.alerts.error, paused_tasks=pauses.tasks.keys(),
            paused_batches=pauses.batches,
        )  # fmt: skip
        memory = memory.with_sample(SizeSample(now, used_size(facts), info.disk_free))
        return Reading(facts=facts, memory=memory, remembered=remembered, mutes=load_mutes(mutes, now))

    async def _read_running(self) -> list[JobRecord]:
        """Return the newest running jobs without their arguments, which are read in pages because they may be large."""
        found: list[JobRecord] = []
        query = Query(states=frozenset({State.RUNNING}), limit=PAGE_SIZE)
        while len(found) < MAX_RUNNING and (page := await self._store.list_jobs(query)):
            found += map(_without_payload, page)
            if len(page) < PAGE_SIZE:
                break
            query = replace(query, before=page[-1].sequence)
        return found

    async def _read_failed(self) -> list[JobRecord]:
        """Return the newest failed jobs with their last failures, each of which is read once."""
        records = await self._store.list_jobs(Query(states=frozenset({State.FAILED}), limit=MAX_FAILED))
        unknown = [each.id for each in records if (each.id, each.ended) not in self._failed]
        read = await self._store.get(unknown) if unknown else []
        complete = {(each.id, each.ended): _without_payload(each) for each in read if isinstance(each, JobRecord)}
        known = {**self._failed, **complete}
        self._failed = {
            (each.id, each.ended): known.get((each.id, each.ended)) or _without_payload(each) for each in records
        }
        return list(self._failed.values())

    async def _read_day(self, now: float) -> list[HistoryCell]:
        if time.monotonic() - self._day_read > DAY_HISTORY_LIFETIME:
            self._day = await self._store.history(HistoryQuery(since=now - DAY, until=now + MINUTE, step=HOUR))
            self._day_read = time.monotonic()
        return self._day


def _without_internal(records: Iterable[JobRecord]) -> list[JobRecord]:
    return [each for each in records if not each.spec.task.startswith(INTERNAL_PREFIX)]


def _without_payload(record: JobRecord) -> JobRecord:
    """Return a record without what is large, because every process that evaluates findings keeps hundreds of records."""
    last_failure = tuple(replace(failure, traceback="") for failure in record.history[-1:])
    return replace(record, spec=replace(record.spec, arguments="{}", follow_ups=()), history=last_failure)


def worker_exits(entries: Iterable[JournalEntry]) -> Iterator[WorkerExit]:
    """Yield the entries of the journal `WORKER_EXITS` as values."""
    for entry in entries:
        found = json.loads(entry.text)
        name = found["worker"].partition(":")[0]  # an id is name:host:process:nonce
        yield WorkerExit(
            entry.at, name, found["reason"], found.get("memory") or 0, id=found["worker"], host=found.get("host") or "",
            release=found.get("release") or "", jobs=found.get("jobs", ()),
        )  # fmt: skip
