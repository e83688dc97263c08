"""Outcomes of a mixed run agree exactly between the records of jobs, their transitions, the history, the totals and Prometheus.

`HISTORY_JOBS=20000` makes the run longer.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pytest

from sidelane import JobRecord, LimitReached, Problem, State
from sidelane.client.client import Client
from sidelane.exporters.store_metrics import COUNTERS, COUNTERS_OF_REASONS, read_facts, store_exposition
from sidelane.model.history import MINUTE, Count, HistoryCell, HistoryQuery
from sidelane.model.job import UNFINISHED, Query
from sidelane.model.transition import Change, timeline
from sidelane.stores.contract import Store
from tests.exporters.facts import read
from tests.system import mixed_app as app
from tests.system.process_scenario import ProcessScenario
from tests.system.processes import RunningProcess
from tests.system.store_urls import ON_EVERY_STORE
from tests.system.waiting import until

JOBS = int(os.environ.get("HISTORY_JOBS", "2000"))
LANE = "tests.system.mixed_app:lane"
WORKERS = 3
SEED = 15
USERS = 20

CHANGES = {
    Change.SUBMITTED: Count.SUBMITTED,
    Change.STARTED: Count.STARTED,
    Change.RETRIED: Count.RETRIED,
    Change.RELEASED: Count.RELEASED,
    Change.DISPATCHED: Count.DISPATCHED,
    Change.REQUEUED: Count.REQUEUED,
}
ENDS = {State.SUCCEEDED: Count.SUCCEEDED, State.FAILED: Count.FAILED, State.CANCELLED: Count.CANCELLED}
COMPARED = frozenset({*CHANGES.values(), *ENDS.values(), Count.LOST})

Counted = Counter[tuple[str, Count]]
"""Amounts by task and field."""


def counted_in(records: Iterable[JobRecord]) -> Counted:
    """Return what jobs and their transitions tell. A loss that fails its job is no transition."""
    counted: Counted = Counter()
    for record in records:
        counted[record.spec.task, Count.LOST] += record.worker_losses
        for each in timeline(record):
            name = ENDS[State(each.detail)] if each.change is Change.ENDED else CHANGES.get(each.change)
            if name is not None:
                counted[record.spec.task, name] += 1
    return counted


def added_up(cells: Iterable[HistoryCell]) -> Counted:
    """Return the sums of cells by task."""
    counted: Counted = Counter()
    for cell in cells:
        for name in COMPARED & cell.counts.keys():
            counted[cell.series.task, name] += cell.counts[name]
    return counted


async def exposed(store: Store) -> Counted:
    """Return what Prometheus reads, by task."""
    text, _ = store_exposition(await read_facts(store, {}, {})).encode("")
    fields = {(metric.name, ""): count for metric, count in COUNTERS.items()}
    fields |= {(metric.name, reason): count for (metric, reason), count in COUNTERS_OF_REASONS.items()}
    counted: Counted = Counter()
    for (name, labels), value in read(text).items():
        found = dict(labels)
        count = fields.get((name, found.get("outcome", "")))
        if count in COMPARED:
            counted[found["task"], count] += int(value)
    return counted


@dataclass(slots=True)
class Load:
    """The jobs of a run, and what happened outside the store."""

    rng: random.Random
    refused: int = 0
    to_cancel: list[str] = field(default_factory=list)
    external: list[str] = field(default_factory=list)

    async def submit(self, number: int) -> None:
        """Submit one job of a random task."""
        user = f"user-{self.rng.randrange(USERS)}"
        kind = self.rng.randrange(14)
        plain = (app.succeed, app.fail, app.fail_first, app.ask_later)
        if kind < len(plain):
            await plain[kind].options(user=user).submit(number)
        elif kind == 4:
            await app.stream.submit(3)
        elif kind == 5:
            self.to_cancel.append((await app.run_until_cancelled.options(user=user).submit()).id)
        elif kind == 6:
            await app.start_in_time.submit()
        elif kind == 7:
            await app.replace_older.options(user=user).submit()
        elif kind == 8:
            await app.wait_for_limit.options(user=user).submit()
        elif kind == 9:
            try:
                await app.reject_second.options(user=user).submit()
            except LimitReached:
                self.refused += 1
        elif kind == 10:
            self.external.append((await app.outside.submit(number)).id)
        elif kind == 11:
            self.to_cancel.append((await app.succeed.options(delay=60, user=user).submit(number)).id)
        elif kind == 12:
            calls = [app.succeed.call(1), app.fail.call(2), app.succeed.call(3)]
            await app.lane.submit_many(calls, then=app.succeed.call(4))
        else:
            await app.succeed.options(on_failure=app.fail.call(1), then=app.succeed.call(2)).submit(number)

    async def act(self, store: Store) -> None:
        """Cancel what is to be cancelled, and complete external jobs that are dispatched."""
        if self.to_cancel:
            await store.cancel([self.to_cancel.pop(self.rng.randrange(len(self.to_cancel)))])
        for job_id in self.external[:5]:
            (record,) = await store.get([job_id])
            if not isinstance(record, JobRecord) or record.state.finished:
                self.external.remove(job_id)
            elif record.external_lease is not None:
                if self.rng.random() < 0.7:
                    await app.outside.complete(job_id, 1)
                else:
                    await app.outside.fail(job_id, Problem(title="Not possible"), retry=False)
                self.external.remove(job_id)


async def all_records(store: Store) -> list[JobRecord]:
    records: list[JobRecord] = []
    before = None
    while page := await store.list_jobs(Query(before=before, limit=1000)):
        records += page
        before = page[-1].sequence
    return records


@pytest.mark.long
@ON_EVERY_STORE
async def test_outcomes_agree_exactly_between_records_history_and_totals(scenario: ProcessScenario) -> None:
    store = scenario.store
    load = Load(random.Random(SEED))
    workers = [await scenario.worker(f"w{number}", LANE, SIDELANE_RELEASE=f"r{number}") for number in range(WORKERS)]
    with app.lane.services.use(Client(store, settings=app.lane.settings, registry=app.lane.registry)):
        next_kill = time.monotonic() + 1
        for number in range(JOBS):
            await load.submit(number)
            if number % 3 == 0:
                await load.act(store)
            if time.monotonic() > next_kill:
                replace_one(workers, scenario, load.rng)
                next_kill = time.monotonic() + 2
        for _ in range(3):
            await app.kill_child.submit()
        await until(lambda: finish_rest(load, store), "every job has ended", within=60 + JOBS / 20)
        records = await all_records(store)
        found = await agreement(store, records)
        assert await exposed(store) == found.records
    assert found.totals == found.records
    assert found.history == found.records
    by_state = Counter(record.state for record in records)
    for state, name in ENDS.items():
        assert sum(amount for (_, each), amount in found.totals.items() if each is name) == by_state[state]
    assert total(found.totals, Count.STARTED) == sum(record.attempt for record in records)
    assert total(found.totals, Count.LOST) == sum(record.worker_losses for record in records) > 0
    assert found.refused == load.refused
    print(f"{len(records):,} jobs, {dict(by_state)}, {total(found.totals, Count.LOST)} worker losses")


def replace_one(workers: list[RunningProcess], scenario: ProcessScenario, rng: random.Random) -> None:
    """Kill a worker, and start another in its place."""
    victim = rng.randrange(len(workers))
    workers[victim].kill()
    workers[victim] = scenario.processes.worker(f"w{victim}", LANE, SIDELANE_RELEASE=f"r{victim}")


async def finish_rest(load: Load, store: Store) -> bool:
    """Cancel and complete what is left. Return whether nothing is queued or running."""
    await load.act(store)
    left = await store.list_jobs(Query(states=UNFINISHED, limit=200))
    await store.cancel([record.id for record in left if record.spec.task in ("run_until_cancelled", DISPATCH)])
    if not left:
        return True
    await asyncio.sleep(0.05)
    return False


DISPATCH = "sidelane.send"


def total(counted: Counted, name: Count) -> int:
    return sum(amount for (_, each), amount in counted.items() if each is name)


@dataclass(frozen=True, slots=True)
class Agreement:
    """The same amounts from several sources."""

    records: Counted
    history: Counted
    totals: Counted
    refused: int


async def agreement(store: Store, records: Sequence[JobRecord]) -> Agreement:
    totals = await store.totals()
    minutes = await store.history(HistoryQuery(since=0, until=time.time() + MINUTE))
    refused = sum(cell.counts.get(Count.REFUSED_LIMIT, 0) for cell in totals)
    return Agreement(counted_in(records), added_up(minutes), added_up(totals), refused)
