"""State machine (Hypothesis) that makes random calls to a store and compares it with the reference store after each.

class SqliteMachine(StoreMachine):
    def new_factory(self) -> StoreFactory: ...

TestSqliteMachine = SqliteMachine.TestCase
"""

from dataclasses import replace

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from sidelane.conformance.model.assertions import (
    check_batch,
    check_history,
    check_limits,
    check_log,
    check_queue,
    check_record,
)
from sidelane.conformance.model.driver import LEASE, TICK, TICKS_TO_EXPIRE, StoreDriver
from sidelane.conformance.model.strategies import (
    batches,
    changed_limits,
    dispatches,
    entries,
    isolation,
    job_ids,
    numbers,
    outcomes,
    queues,
    specs,
    workers,
)
from sidelane.model.batch import BatchSpec
from sidelane.model.event import Cursor, NewEvent
from sidelane.model.ids import new_nonce
from sidelane.model.job import JobSpec, Rejection
from sidelane.model.limit_override import LimitOverride
from sidelane.model.outcome import AttemptResult, EventAppend, Outcome
from sidelane.model.worker import ClaimRequest, WorkerInfo


class StoreMachine(StoreDriver):
    """The rules. A subclass defines `new_factory`; `connections` is the number of stores to open."""

    # Calls of users.

    @initialize(spec=batches, wanted=st.lists(specs, min_size=2, max_size=6), sweep_limit=st.sampled_from([200, 1, 3]))
    def begin(self, spec: BatchSpec, wanted: list[JobSpec], sweep_limit: int) -> None:
        self.sweep_limit = sweep_limit
        self.run(self.store.open_batch(spec))
        self.expected.open_batch(spec)
        self.submit(wanted)

    @rule(wanted=st.lists(specs, min_size=1, max_size=4))
    def submit_some(self, wanted: list[JobSpec]) -> None:
        self.submit(wanted)

    @rule(spec=specs, names=st.sets(job_ids, min_size=2))
    def submit_alike(self, spec: JobSpec, names: set[str]) -> None:
        self.submit([replace(spec, id=name) for name in sorted(names)])

    @rule(job_id=job_ids)
    def cancel(self, job_id: str) -> None:
        self.run(self.store.cancel([job_id]))
        self.expected.cancel(job_id)

    @rule(which=numbers, arguments=st.sampled_from([None, None, '{"n": 1}']))
    def requeue(self, which: int, arguments: str | None) -> None:
        """Requeue a finished job without deadline or listener, owner times the contract leaves open after a requeue."""
        ended = [
            job.spec.id
            for job in self.expected.jobs.values()
            if job.state.finished and not (job.spec.deadline or job.spec.expires or job.spec.abandon_after)
        ]
        if ended:
            job_id = ended[which % len(ended)]
            (answer,) = self.run(self.store.requeue([job_id], arguments=arguments))
            assert isinstance(answer, Rejection) != self.expected.requeue(job_id, arguments)

    @rule(job_id=job_ids)
    def remove(self, job_id: str) -> None:
        assert self.run(self.store.remove([job_id])) == [self.expected.remove(job_id)]

    @rule(sure=st.sampled_from([False, False, True]))
    def seal_batch(self, sure: bool) -> None:
        if sure:
            self.run(self.store.seal_batch("m"))
            self.expected.seal_batch("m")

    @rule(job_id=job_ids)
    def touch_listener(self, job_id: str) -> None:
        self.run(self.store.touch_listeners([job_id]))
        self.expected.touch_listener(job_id)

    @rule(queue=queues, paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        self.run(self.store.pause(queue, paused))
        (self.expected.paused.add if paused else self.expected.paused.discard)(queue)

    @rule(limit=changed_limits, most=st.integers(1, 3), seconds=st.sampled_from([None, 13.0]))
    def override_limit(self, limit: tuple[str, str | None], most: int, seconds: float | None) -> None:
        name, key = limit
        now = self.clock()
        until = None if seconds is None else now + seconds
        override = LimitOverride(name=name, key=key, max=most, since=now, until=until)
        assert self.run(self.store.override_limit(override))
        self.expected.overrides[override.id] = override

    @rule(limit=changed_limits)
    def restore_limit(self, limit: tuple[str, str | None]) -> None:
        name, key = limit
        override_id = name if key is None else f"{name}/{key}"
        before = self.expected.overrides.pop(override_id, None)
        has_ended = before is None or (before.until is not None and before.until <= self.clock())
        assert self.run(self.store.restore_limit(override_id)) == (not has_ended)

    # Calls of workers.

    @rule(
        worker=workers,
        first=queues,
        slots=st.tuples(st.integers(1, 3), st.integers(0, 3)),
        limit=st.integers(1, 4),
        newest=st.sampled_from([None, None, 1]),
        isolated=isolation,
        again=st.booleans(),
    )
    def claim(
        self,
        worker: str,
        first: str,
        slots: tuple[int, int],
        limit: int,
        newest: int | None,
        isolated: bool,
        again: bool,
    ) -> None:
        tasks = None if newest is None else {"t": newest, "follow": 1}
        free = dict(zip((first, "y" if first == "x" else "x"), slots, strict=True))
        request = ClaimRequest(
            request=new_nonce(), worker=worker, queues=free, limit=limit, lease=LEASE, tasks=tasks, isolated=isolated
        )
        self.claim_as(request, again)

    @rule(
        worker=workers,
        limit=st.integers(1, 4),
        isolated=isolation,
        outcome=outcomes,
        entries=entries,
        again=st.booleans(),
    )
    def work(
        self, worker: str, limit: int, isolated: bool, outcome: Outcome, entries: tuple[NewEvent, ...], again: bool
    ) -> None:
        """Claim, and finish all claimed jobs with one outcome."""
        free = {"x": limit, "y": limit}
        request = ClaimRequest(
            request=new_nonce(), worker=worker, queues=free, limit=limit, lease=LEASE, isolated=isolated
        )
        leases = self.claim_as(request, False)
        reports = [
            AttemptResult(lease=lease, outcome=self.complete(outcome, lease), entries=entries) for lease in leases
        ]
        for _ in range(1 + again):
            expected = [self.expected.finish(report) for report in reports]
            assert self.run(self.store.finish(reports)) == expected

    @rule(worker=workers, limit=st.integers(1, 4), outcome=dispatches, entries=entries, again=st.booleans())
    def dispatch(self, worker: str, limit: int, outcome: Outcome, entries: tuple[NewEvent, ...], again: bool) -> None:
        """Claim, and dispatch all claimed jobs, so that the rules with leases find external jobs."""
        self.work(worker, limit, False, outcome, entries, again)

    @rule(worker=workers, job_ids=st.sets(job_ids, min_size=1, max_size=3))
    def claim_by_id(self, worker: str, job_ids: set[str]) -> None:
        chosen = tuple(sorted(job_ids))
        self.claim_as(ClaimRequest(request=new_nonce(), worker=worker, ids=chosen, limit=3, lease=LEASE), False)

    @precondition(lambda self: self.leases)
    @rule(which=numbers, ordinal=st.sampled_from([0, 0, 0, -1, 2]), entries=entries, again=st.booleans())
    def append(self, which: int, ordinal: int, entries: tuple[NewEvent, ...], again: bool) -> None:
        lease = self.lease(which)
        append = EventAppend(lease=lease, ordinal=self.ordinal(lease, ordinal), entries=entries)
        for _ in range(1 + again):
            assert self.run(self.store.append([append])) == [self.expected.append(append)]

    @precondition(lambda self: self.leases)
    @rule(which=numbers, ordinal=st.sampled_from([0, 0, -1, 1]), outcome=outcomes, entries=entries, again=st.booleans())
    def finish(self, which: int, ordinal: int, outcome: Outcome, entries: tuple[NewEvent, ...], again: bool) -> None:
        lease = self.lease(which)
        outcome = self.complete(outcome, lease)
        report = AttemptResult(lease=lease, outcome=outcome, ordinal=self.ordinal(lease, ordinal), entries=entries)
        if self.is_forgotten(lease):
            self.run(self.store.finish([report]))
            return
        for _ in range(1 + again):
            assert self.run(self.store.finish([report])) == [self.expected.finish(report)]

    @rule(worker=workers)
    def heartbeat(self, worker: str) -> None:
        """Send every lease the worker ever had."""
        leases = [lease for owner, lease in self.leases if owner == worker]
        info = WorkerInfo(id=worker, name=worker)
        statuses = self.run(self.store.heartbeat(info, leases, lease=LEASE))
        assert statuses == [self.expected.lease_status(lease) for lease in leases]

    # Time.

    @rule(ticks=st.integers(1, 4))
    def pass_time(self, ticks: int) -> None:
        for _ in range(ticks):
            self.tick()

    @rule(worker=workers)
    def kill_worker(self, worker: str) -> None:
        self.heartbeat_all()
        for number in range(TICKS_TO_EXPIRE):
            expiring = self.running(worker) if number == TICKS_TO_EXPIRE - 1 else []
            self.tick(silent={job.lease for job in self.running(worker)}, dead=worker, expiring=expiring)

    @precondition(lambda self: self.leases)
    @rule(which=numbers)
    def stop_renewing_a_lease(self, which: int) -> None:
        lease = self.lease(which)
        job = self.expected.jobs[lease.job_id]
        if job.lease != lease or job.external_lease is not None:
            return
        self.heartbeat_all()
        for number in range(TICKS_TO_EXPIRE):
            self.tick(silent={lease}, expiring=[job] if number == TICKS_TO_EXPIRE - 1 else [])

    @rule()
    def sleep(self) -> None:
        """Let a long time pass without sweeps: nothing expires for a whole lease (rule 5)."""
        self.clock.advance(20 * TICK)
        self.expected.expire_after = self.clock() + LEASE
        for _ in range(2):
            assert self.sweep() == 0
        self.expected.sweep()
        for _ in range(TICKS_TO_EXPIRE):
            self.tick()

    # Invariants.

    @invariant()
    def every_job_matches_its_reference(self) -> None:
        records = self.records()
        unremoved = {name: job for name, job in self.expected.jobs.items() if not job.removed}
        assert records.keys() == unremoved.keys()
        readings = self.run_all(map(self.store.read, unremoved))
        for (name, expected), reading in zip(unremoved.items(), readings, strict=True):
            check_record(expected, records[name])
            assert reading is not None
            assert (reading.gap, reading.last) == (False, len(expected.log))
            check_log(expected, reading.events)

    @invariant()
    def counts_of_history_limits_batches_and_queues_match(self) -> None:
        records = list(self.records().values())
        check_history(self.expected, self.run(self.store.totals()))
        check_limits(self.expected, records, self.run(self.store.limits()))
        for stats in self.run(self.store.stats()):
            check_queue(records, stats)
        for batch_id, batch in self.expected.batches.items():
            found = self.run(self.store.get_batch(batch_id))
            check_batch(batch, self.expected.counts(batch_id), found)

    @rule(job_id=job_ids, which=numbers, limit=st.integers(1, 5))
    def read_from_a_cursor(self, job_id: str, which: int, limit: int) -> None:
        reading = self.run(self.store.read(job_id))
        assert (reading is None) == (job_id not in self.expected.jobs or self.expected.jobs[job_id].removed)
        if reading is None or not reading.events:
            return
        index = which % len(reading.events)
        event = reading.events[index]
        resumed = self.run(self.store.read(job_id, after=event.cursor, limit=limit))
        assert resumed is not None
        assert (resumed.events, resumed.gap) == (reading.events[index + 1 :][:limit], False)
        beyond = self.run(self.store.read(job_id, after=Cursor(event.epoch, reading.last + 1)))
        assert beyond is not None
        assert (beyond.events, beyond.gap) == (reading.events, True)
