"""Driver of the state machine: makes calls to a store and to the reference store, and compares them."""

import asyncio
from collections.abc import Coroutine, Iterable
from dataclasses import replace
from typing import Any, TypeVar

from hypothesis.stateful import RuleBasedStateMachine

from sidelane.conformance.model.assertions import check_choice, check_unblocked
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
"""Seconds between sweeps. No drawn duration is a multiple of it, so that exact boundaries are not tested here."""
TICKS_TO_EXPIRE = 5
UNLIMITED = 100_000.0


class StoreDriver(RuleBasedStateMachine):
    """A store under test and the steps that the machine's rules use. A subclass defines `new_factory`; `connections` are opened."""

    connections = 1

    def new_factory(self) -> StoreFactory:
        """Return an empty database for one run."""
        raise NotImplementedError

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.expected = ReferenceStore(self.clock)
        self.leases: list[tuple[str, Lease]] = []
        self.calls = 0
        self.sweep_limit = 200
        self.runner = asyncio.Runner()
        factory = self.new_factory()
        self.stores = [self.run(factory.open(self.clock)) for _ in range(self.connections)]
        self.run(self.store.sweep(lease=LEASE))
        self.expected.expire_after = self.clock() + LEASE

    def teardown(self) -> None:
        for store in self.stores:
            self.run(store.close())
        self.runner.close()

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.get_loop().run_until_complete(call)  # Runner.run() also handles ^C, at twice the time

    def run_all(self, calls: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
        """Make read-only calls concurrently."""

        async def all_of_them() -> list[T]:
            return await asyncio.gather(*calls)

        return self.run(all_of_them())

    @property
    def store(self) -> Store:
        """The next connection, in round-robin order."""
        self.calls += 1
        return self.stores[self.calls % len(self.stores)]

    def record(self, job_id: str) -> JobRecord | Tombstone | None:
        return self.run(self.store.get([job_id]))[0]

    def records(self) -> dict[str, JobRecord]:
        """Return all existing records by id."""
        found = self.run(self.store.get(list(self.expected.jobs)))
        return {record.id: record for record in found if isinstance(record, JobRecord)}

    def submit(self, wanted: list[JobSpec]) -> None:
        known = [spec for spec in wanted if not self.is_undefined(spec)]
        for spec, answer in zip(known, self.run(self.store.submit(known)), strict=True):
            expected = self.expected.submit(spec)
            if isinstance(answer, Submission):
                assert (answer.record.id, answer.created) == expected
            else:
                assert isinstance(expected, frozenset)
                assert answer.problem.status in expected

    def is_undefined(self, spec: JobSpec) -> bool:
        """Return True if the contract leaves the result open: a removed id, or a cascading child of a cancelled parent."""
        job, parent = self.expected.jobs.get(spec.id), self.expected.jobs.get(spec.parent or "")
        is_removed = job is not None and job.removed
        return is_removed or (spec.cascade and parent is not None and parent.state is State.CANCELLED)

    def claim_as(self, request: ClaimRequest, again: bool) -> list[Lease]:
        ready = self.expected.claimable(request)
        found = self.records()
        records = {job.spec.id: found[job.spec.id] for job in ready}
        claims = self.run(self.store.claim(request))
        claimed = list(claims.jobs)
        if again:
            assert list(self.run(self.store.claim(request)).jobs) == claimed
        if not request.ids:
            isolated = [] if request.isolated else self.expected.claimable(replace(request, isolated=True))
            assert isolated or not claims.isolated
            assert claims.isolated or all(job.spec.limits for job in isolated), "an isolated job was not reported"
        before = set(self.expected.jobs)
        expired = self._adopt_expired()
        new = self.expected.jobs.keys() - before
        for each in claimed:
            assert each.record.id in records.keys() | new, "claimed a job that is not claimable"
            assert not self.expected.is_blocked(each.record.spec), "claimed a job whose limit is full"
            self.expected.claimed(each, request.worker)
            self.leases.append((request.worker, each.lease))
        skippable = {
            job_id
            for job_id, record in records.items()
            if record.waiting_for_limit is not None
            or self.expected.is_blocked(record.spec)
            or (expired and record.spec.limits)
        }
        chosen = [each.record.id for each in claimed if each.record.id in records]
        ages = {job_id: record.sequence for job_id, record in records.items()}
        check_choice(request, ready, chosen, ages, skippable=skippable, has_new=bool(new))
        return [each.lease for each in claimed]

    def _adopt_expired(self) -> bool:
        """A claim may fail expired jobs. Copy that to the reference store, and return whether it happened."""
        ended = []
        for job in self.expected.expired():
            record = self.record(job.spec.id)
            if isinstance(record, JobRecord) and record.state is State.FAILED:
                ended.append(job)
        for job in ended:
            self.expected.end(job, State.FAILED)
        return bool(ended)

    def lease(self, which: int) -> Lease:
        """Choose one of the newest leases; many are not valid any more."""
        return self.leases[-1 - which % min(len(self.leases), 12)][1]

    def complete(self, outcome: Outcome, lease: Lease) -> Outcome:
        """Fill in the dispatch job of an outcome. A job with listeners gets an unlimited timeout, so that it is abandoned first."""
        if not isinstance(outcome, Dispatched):
            return outcome
        dispatch_job = replace(outcome.sending, id=f"{lease.job_id}.sent.{lease.attempt}", parent=lease.job_id)
        spec = self.expected.jobs[lease.job_id].spec
        return Dispatched(outcome.timeout if spec.abandon_after is None else UNLIMITED, dispatch_job)

    def ordinal(self, lease: Lease, off: int) -> int:
        return max(1, self.expected.jobs[lease.job_id].seen + 1 + off)

    def is_forgotten(self, lease: Lease) -> bool:
        """Return True if this lease was finished before the last claim or requeue, so the result of a repeat is undefined."""
        job = self.expected.jobs[lease.job_id]
        return job.removed or (lease in job.reported and lease != job.finished_lease)

    def running(self, worker: str) -> list[ReferenceJob]:
        return [job for job in self.expected.jobs.values() if job.worker == worker]

    def heartbeat_all(self) -> None:
        for worker in WORKERS:
            self.send_heartbeat(worker, set())

    def send_heartbeat(self, worker: str, silent: set[Lease | None]) -> None:
        """Renew the worker's leases, those of dispatched jobs included."""
        named = [
            lease
            for owner, lease in self.leases
            if owner == worker and lease not in silent and self.expected.jobs[lease.job_id].lease == lease
        ]
        statuses = self.run(self.store.heartbeat(WorkerInfo(id=worker, name=worker), named, lease=LEASE))
        assert statuses == [self.expected.lease_status(lease) for lease in named]

    def sweep(self) -> int:
        """Sweep until no more is left, and return how many leases were lost."""
        lost = 0
        for _ in range(100):
            swept = self.run(self.store.sweep(lease=LEASE, limit=self.sweep_limit))
            lost += swept.lost
            if not swept.more:
                return lost
        raise AssertionError("sweeps never finish")

    def tick(
        self, *, silent: Iterable[Lease | None] = (), dead: str | None = None, expiring: Iterable[ReferenceJob] = ()
    ) -> None:
        """Advance by one tick: live workers send heartbeats, then two sweeps run, because the order within a sweep is undefined."""
        self.clock.advance(TICK)
        for worker in WORKERS:
            if worker != dead:
                self.send_heartbeat(worker, set(silent))
        lapsed, overdue = list(expiring), self.expected.overdue()
        lost = self.sweep() + self.sweep()
        assert len(lapsed) <= lost <= len(lapsed) + len(overdue)  # fewer if one was cancelled before
        self.expected.sweep()
        self.expected.lose(lapsed)
        for job in overdue:
            if job.external_lease is not None:
                self.expected.lose([job])
        self.expected.sweep()
        check_unblocked(self.expected, list(self.records().values()))
