"""A store in the hands of a machine: what each step does to it, held against what it should hold."""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from sidelane.conformance.model.assertions import check_choice, check_woken
from sidelane.conformance.model.reference_job import ReferenceJob
from sidelane.conformance.model.reference_store import ReferenceStore
from sidelane.conformance.model.strategies import WORKERS
from sidelane.conformance.stores.fixtures import StoreFactory
from sidelane.model.job import JobRecord, JobSpec, Lease, State, Submission, Tombstone
from sidelane.model.outcome import Dispatched, Outcome
from sidelane.model.worker import ClaimRequest, WorkerInfo
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store

T = TypeVar("T")

LEASE = 10.0
TICK = 2.4
"""Seconds between sweeps. No duration that is drawn is a multiple of it: the edge of a moment is nobody's business here."""
TICKS_TO_EXPIRE = 5
FOR_EVER = 100_000.0


class StoreDriver(RuleBasedStateMachine):
    """A store, and the steps that the machine's rules take. A subclass brings `new_place`; `connections` says how many to open."""

    connections = 1

    def new_place(self) -> StoreFactory:
        """Make an empty storage for one run."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.expected = ReferenceStore(self.clock)
        self.leases: list[tuple[str, Lease]] = []
        self.turn = 0
        self.piece = 200  # how much one sweep does
        self.runner = asyncio.Runner()
        place = self.new_place()
        self.stores = [self.run(place.open(self.clock)) for _ in range(self.connections)]
        self.run(self.store.sweep(lease=LEASE))
        self.expected.patient_until = self.clock() + LEASE

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.close())
        self.runner.close()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.get_loop().run_until_complete(call)  # the runner's own way cares for ^C, at twice the time

    def run_all(self, calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """Make calls that change nothing, all at once."""

        async def all_of_them() -> list[T]:
            return await asyncio.gather(*calls)

        return self.run(all_of_them())

    @property
    def store(self) -> Store:
        """The next of the connections in turn."""
        self.turn += 1
        return self.stores[self.turn % len(self.stores)]

    def record(self, job_id: str) -> JobRecord | Tombstone | None:
        return self.run(self.store.get([job_id]))[0]

    def records(self) -> dict[str, JobRecord]:
        """Look up every job that is there, by id."""
        found = self.run(self.store.get(list(self.expected.jobs)))
        return {record.id: record for record in found if isinstance(record, JobRecord)}

    def submit(self, wanted: list[JobSpec]) -> None:
        known = [spec for spec in wanted if not self.left_open(spec)]
        for spec, answer in zip(known, self.run(self.store.submit(known)), strict=True):
            expected = self.expected.submit(spec)
            if isinstance(answer, Submission):
                assert (answer.record.id, answer.created) == expected
            else:
                assert isinstance(expected, frozenset)
                assert answer.problem.status in expected

    def left_open(self, spec: JobSpec) -> bool:
        """Whether the id of a job that is gone may be used again, and whether a child comes too late to stop with its parent."""
        job, parent = self.expected.jobs.get(spec.id), self.expected.jobs.get(spec.parent or "")
        gone = job is not None and job.removed
        return gone or (spec.cascade and parent is not None and parent.state is State.CANCELLED)

    def claim_as(self, request: ClaimRequest, again: bool) -> list[Lease]:
        ready = self.expected.claimable(request)
        there = self.records()
        records = {job.spec.id: there[job.spec.id] for job in ready}
        claims = self.run(self.store.claim(request))
        claimed = list(claims.jobs)
        if again:
            assert list(self.run(self.store.claim(request)).jobs) == claimed
        if not request.ids:
            isolated = [] if request.isolated else self.expected.claimable(replace(request, isolated=True))
            assert isolated or not claims.isolated
            assert claims.isolated or all(job.spec.limits for job in isolated), "no word of an isolated job"
        known = set(self.expected.jobs)
        freed = self._adopt_late()
        born = self.expected.jobs.keys() - known
        for each in claimed:
            assert each.record.id in records.keys() | born, "claimed what may not be claimed"
            assert not self.expected.held_up(each.record.spec), "claimed what has no room"
            self.expected.claimed(each, request.worker)
            self.leases.append((request.worker, each.lease))
        passed_over = {
            job_id
            for job_id, record in records.items()
            if record.waiting_for_limit is not None
            or self.expected.held_up(record.spec)
            or (freed and record.spec.limits)
        }
        chosen = [each.record.id for each in claimed if each.record.id in records]
        ages = {job_id: record.sequence for job_id, record in records.items()}
        check_choice(request, ready, chosen, ages, passed_over=passed_over, born=bool(born))
        return [each.lease for each in claimed]

    def _adopt_late(self) -> bool:
        """A claim may end the late jobs it meets. Tells whether it did."""
        ended = []
        for job in self.expected.late():
            record = self.record(job.spec.id)
            if isinstance(record, JobRecord) and record.state is State.FAILED:
                ended.append(job)
        for job in ended:
            self.expected.end(job, State.FAILED)
        return bool(ended)

    def lease(self, which: int) -> Lease:
        """Choose a lease, the newest ones first; many do not hold any more."""
        return self.leases[-1 - which % min(len(self.leases), 12)][1]

    def meant(self, outcome: Outcome, lease: Lease) -> Outcome:
        """Fill in what a hand-over is to submit. One with a listener is lost in a time that none of them outlasts."""
        if not isinstance(outcome, Dispatched):
            return outcome
        told = replace(outcome.sending, id=f"{lease.job_id}.sent.{lease.attempt}", parent=lease.job_id)
        spec = self.expected.jobs[lease.job_id].spec
        return Dispatched(outcome.timeout if spec.abandon_after is None else FOR_EVER, told)

    def ordinal(self, lease: Lease, off: int) -> int:
        return max(1, self.expected.jobs[lease.job_id].seen + 1 + off)

    def forgotten(self, lease: Lease) -> bool:
        """Return whether this lease ended before the job's last claim or requeue: the answer to a repeat is not specified."""
        job = self.expected.jobs[lease.job_id]
        return job.removed or (lease in job.reported and lease != job.finished_lease)

    def running(self, worker: str) -> list[ReferenceJob]:
        return [job for job in self.expected.jobs.values() if job.worker == worker]

    def beat_all(self) -> None:
        for worker in WORKERS:
            self.beat(worker, set())

    def beat(self, worker: str, silent: set[Lease | None]) -> None:
        """Name what the worker runs, and what it has handed over and may not know to be."""
        named = [
            lease
            for whose, lease in self.leases
            if whose == worker and lease not in silent and self.expected.jobs[lease.job_id].lease == lease
        ]
        statuses = self.run(self.store.heartbeat(WorkerInfo(id=worker, name=worker), named, lease=LEASE))
        assert statuses == [self.expected.lease_status(lease) for lease in named]

    def sweep(self) -> int:
        """Sweep piece by piece until no more is to be done, and tell how many leases were lost."""
        lost = 0
        for _ in range(100):
            swept = self.run(self.store.sweep(lease=LEASE, limit=self.piece))
            lost += swept.lost
            if not swept.more:
                return lost
        raise AssertionError("sweeps go on for ever")

    def tick(
        self, *, silent: Iterable[Lease | None] = (), dead: str | None = None, expiring: Iterable[ReferenceJob] = ()
    ) -> None:
        """Go on by one tick: those alive beat, then one sweeps. Swept twice, for the order within a sweep is open."""
        self.clock.advance(TICK)
        for worker in WORKERS:
            if worker != dead:
                self.beat(worker, set(silent))
        lapsed, overdue = list(expiring), self.expected.overdue()
        lost = self.sweep() + self.sweep()
        assert len(lapsed) <= lost <= len(lapsed) + len(overdue)  # unless one was cancelled before
        self.expected.sweep()
        self.expected.lose(lapsed)
        for job in overdue:
            if job.external_lease is not None:
                self.expected.lose([job])
        self.expected.sweep()
        check_woken(self.expected, list(self.records().values()))
