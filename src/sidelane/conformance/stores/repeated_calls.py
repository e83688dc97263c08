"""Repeated calls: a reply may be lost, so every call may come twice (rule 3)."""

from sidelane.conformance.stores.actions import (
    FOLLOW_UP,
    LEASE,
    append_tokens,
    claim,
    claim_job,
    failure,
    finish,
    heartbeat,
    ids,
    pass_time,
    read_log,
    record,
    specs,
    start,
    submit,
    tokens,
)
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import JobSpec, State
from sidelane.model.outcome import AttemptResult, Failed, LeaseStatus, Outcome, Released, Retried, Succeeded
from sidelane.model.worker import ClaimRequest
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


class RepeatedClaims(StoreSuite):
    """A claim repeated with its request id returns the same jobs."""

    async def test_a_repeated_claim_returns_the_same_jobs_and_leases(self, store: Store) -> None:
        await submit(store, *specs("a1", "a2", "a3", user="a"), *specs("b1", "b2", user="b"))
        request = ClaimRequest(request="r", worker="w", queues={"default": 3}, limit=3, lease=LEASE)
        first = await store.claim(request)
        second = await store.claim(request)
        assert ids(first.jobs) == ["a1", "b1", "a2"]
        assert [each.lease for each in second.jobs] == [each.lease for each in first.jobs]
        assert [each.record for each in second.jobs] == [each.record for each in first.jobs]
        assert ids(await claim(store, worker="other")) == ["b2", "a3"]

    async def test_a_repeated_claim_by_id_returns_the_same_lease(self, store: Store) -> None:
        await submit(store, *specs("a", "b"))
        request = ClaimRequest(request="r", worker="w", ids=("b",), lease=LEASE)
        first = await store.claim(request)
        assert (await store.claim(request)).jobs == first.jobs
        assert ids(first.jobs) == ["b"]

    async def test_a_lease_of_a_repeated_claim_can_finish(self, store: Store) -> None:
        await submit(store, *specs("a"))
        request = ClaimRequest(request="r", worker="w", queues={"default": 1}, lease=LEASE)
        await store.claim(request)
        (claimed,) = (await store.claim(request)).jobs
        assert await finish(store, claimed, Succeeded("1"))

    async def test_another_request_claims_other_jobs(self, store: Store) -> None:
        await submit(store, *specs("a", "b"))
        for name, job_id in ("r1", "a"), ("r2", "b"):
            request = ClaimRequest(request=name, worker="w", queues={"default": 1}, lease=LEASE)
            assert ids((await store.claim(request)).jobs) == [job_id]

    async def test_a_repeated_claim_omits_jobs_whose_lease_is_lost(self, store: Store) -> None:
        await submit(store, *specs("a", "b"))
        request = ClaimRequest(request="r", worker="w", queues={"default": 2}, limit=2, lease=LEASE)
        first = (await store.claim(request)).jobs
        await finish(store, first[0], Succeeded("1"))
        again = (await store.claim(request)).jobs
        assert [each.lease for each in again] == [first[1].lease]


class RepeatedFinishes(StoreSuite):
    """A finish repeated with its lease returns True and ends nothing twice."""

    async def test_a_finish_repeated_with_its_lease_returns_true_and_changes_nothing(self, store: Store) -> None:
        outcomes: dict[str, Outcome] = {"s": Succeeded("1"), "f": Failed(failure()), "r": Retried(failure(), 60)}
        for job_id, outcome in {**outcomes, "l": Released(60)}.items():
            claimed = await start(store, JobSpec(id=job_id, task="t", follow_ups=(FOLLOW_UP,)))
            assert await finish(store, claimed, outcome, *tokens("one"))
            before = await record(store, job_id), await read_log(store, job_id), await store.get([f"{job_id}.2.0"])
            assert await finish(store, claimed, outcome, *tokens("one"))
            after = await record(store, job_id), await read_log(store, job_id), await store.get([f"{job_id}.2.0"])
            assert after == before

    async def test_a_finish_repeated_in_the_same_call_ends_once(self, store: Store) -> None:
        claimed = await start(store, *specs("a"))
        report = AttemptResult(lease=claimed.lease, outcome=Succeeded("1"), entries=tokens("one"))
        assert await store.finish([report, report]) == [True, True]
        assert (await record(store, "a")).ends == 1

    async def test_a_repeated_retry_is_harmless_once_the_job_runs_again(self, store: Store) -> None:
        first = await start(store, *specs("a"))
        await finish(store, first, Retried(failure()))
        second = await claim_job(store, "a", worker="other")
        before = await record(store, "a")
        await finish(store, first, Retried(failure()))
        assert await record(store, "a") == before
        assert await heartbeat(store, "other", second.lease) == [LeaseStatus.HELD]

    async def test_a_finish_after_its_lease_was_swept_returns_false_every_time(
        self, store: Store, clock: ManualClock
    ) -> None:
        claimed = await start(store, *specs("a"))
        await pass_time(store, clock, 3 * LEASE)
        assert not await finish(store, claimed, Succeeded("1"))
        assert not await finish(store, claimed, Succeeded("1"))
        assert (await record(store, "a")).state is State.QUEUED


class RepeatedWrites(StoreSuite):
    """Every other call may be repeated."""

    async def test_a_repeated_submit_append_or_heartbeat_changes_nothing(self, store: Store) -> None:
        await store.submit(specs("a"))
        await store.submit(specs("a"))
        (claimed,) = await claim(store)
        assert [await append_tokens(store, claimed, 1, "one") for _ in range(2)] == [True, True]
        assert [await heartbeat(store, "w", claimed.lease) for _ in range(2)] == [
            [LeaseStatus.HELD],
            [LeaseStatus.HELD],
        ]
        assert len(await read_log(store, "a")) == 1

    async def test_get_or_set_keeps_the_first_value(self, store: Store) -> None:
        assert await store.get_or_set("secret", "one") == "one"
        assert await store.get_or_set("secret", "two") == "one"
        assert await store.get_or_set("other", "two") == "two"

    async def test_pausing_twice_changes_nothing(self, store: Store) -> None:
        await submit(store, *specs("a"))
        await store.pause("default")
        await store.pause("default")
        await store.pause("default", False)
        assert ids(await claim(store)) == ["a"]
        await store.pause("default", False)
