"""Order of claims: priority, then fair among users, then age (rule 15)."""

from collections import Counter
from itertools import cycle

import pytest

from sidelane.conformance.stores.actions import claim, claim_job, failure, finish, ids, specs, submit
from sidelane.conformance.stores.fixtures import StoreSuite
from sidelane.model.job import JobSpec
from sidelane.model.outcome import Retried
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


async def take_singly(store: Store, count: int, queue: str = "default") -> list[str]:
    """Claim one job per call."""
    return [job_id for _ in range(count) for job_id in ids(await claim(store, queues={queue: 1}, limit=1))]


class Fairness(StoreSuite):
    """No user has to wait for another user's many jobs."""

    async def test_jobs_are_claimed_by_priority_then_fairly_by_user_then_age(self, store: Store) -> None:
        await submit(store, *specs("a1", "a2", "a3", user="a"), *specs("b1", "b2", user="b"))
        await submit(store, *specs("low", user="c", priority=-1), *specs("high", "high2", user="a", priority=5))
        assert ids(await claim(store)) == ["high", "high2", "a1", "b1", "a2", "b2", "a3", "low"]

    async def test_jobs_of_one_user_are_claimed_by_age(self, store: Store) -> None:
        names = [f"j{n}" for n in (3, 1, 2, 9, 5)]
        await submit(store, *specs(*names, user="u"))
        assert await take_singly(store, 5) == names

    async def test_one_claim_of_many_has_the_order_of_single_claims(self, store: Store) -> None:
        await submit(store, *specs("a1", "a2", "a3", user="a", queue="x"), *specs("b1", "c1", queue="x"))
        await submit(store, *specs("A1", "A2", "A3", user="a", queue="y"), *specs("B1", "C1", queue="y"))
        together = ids(await claim(store, queues={"x": 9}))
        assert [name.upper() for name in together] == await take_singly(store, 5, "y")

    async def test_jobs_without_a_user_count_as_one_user(self, store: Store) -> None:
        await submit(store, *specs("n1", "n2", "n3"), *specs("u1", "u2", user="u"))
        assert ids(await claim(store)) == ["n1", "u1", "n2", "u2", "n3"]

    async def test_a_new_user_goes_before_the_rest_of_a_flood(self, store: Store) -> None:
        await submit(store, *specs(*(f"f{n}" for n in range(100)), user="flooder"))
        await claim(store, limit=10)
        await submit(store, *specs("new", user="newcomer"))
        assert await take_singly(store, 1) == ["new"]

    async def test_a_user_earns_no_credit_while_idle(self, store: Store) -> None:
        await submit(store, *specs("v0", user="v"), *specs(*(f"f{n}" for n in range(60)), user="flooder"))
        await claim(store, limit=40)
        await submit(store, *specs(*(f"v{n}" for n in range(1, 20)), user="v"))
        taken = await take_singly(store, 10)
        assert abs(sum(name.startswith("v") for name in taken) - 5) <= 1

    async def test_ten_users_behind_a_flood_are_each_claimed_within_one_round(self, store: Store) -> None:
        await submit(store, *specs(*(f"f{n}" for n in range(200)), user="flooder"))
        await submit(store, *(JobSpec(id=f"u{n}-{k}", task="t", user=f"u{n}") for n in range(10) for k in range(3)))
        for count in range(1, 4):
            taken = await claim(store, limit=11)
            assert sorted(each.record.spec.user or "" for each in taken) == sorted(
                ["flooder", *(f"u{n}" for n in range(10))]
            ), f"round {count}"

    async def test_fairness_is_separate_for_each_queue_and_priority(self, store: Store) -> None:
        await submit(store, *specs("x1", "x2", "x3", user="a", queue="x"), *specs("p1", "p2", user="a", priority=3))
        await claim(store, queues={"x": 3})
        await claim(store, limit=2)
        await submit(store, *specs("a1", "a2", user="a"), *specs("b1", user="b"))
        assert await take_singly(store, 3) == ["a1", "b1", "a2"]

    async def test_a_cancelled_job_does_not_count_against_its_user(self, store: Store) -> None:
        await submit(store, *specs("a1", "a2", "a3", user="a"), *specs("b1", "b2", "b3", user="b"))
        await store.cancel(["a1"])
        assert await take_singly(store, 5) == ["a2", "b1", "a3", "b2", "b3"]

    async def test_cancelling_a_flood_costs_its_user_nothing(self, store: Store) -> None:
        flood = [f"a{n}" for n in range(20)]
        await submit(store, *specs(*flood, user="a"), *specs("b1", "b2", user="b"))
        await store.cancel(flood)
        await submit(store, *specs("again1", "again2", user="a"))
        assert sorted(await take_singly(store, 2)) == ["again1", "b1"]

    async def test_a_delayed_job_does_not_count_until_it_is_due(self, store: Store, clock: ManualClock) -> None:
        await submit(store, JobSpec(id="a1", task="t", user="a", delay=60), *specs("a2", "a3", user="a"))
        await submit(store, *specs("b1", "b2", user="b"))
        assert await take_singly(store, 4) == ["a2", "b1", "a3", "b2"]
        clock.advance(61)
        assert await take_singly(store, 1) == ["a1"]

    async def test_a_job_that_waits_for_its_retry_does_not_count(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a1", "a2", user="a"), *specs("b1", "b2", user="b"))
        await finish(store, await claim_job(store, "a1"), Retried(failure(), delay=60))
        assert sorted(await take_singly(store, 2)) == ["a2", "b1"]
        clock.advance(61)
        assert sorted(await take_singly(store, 2)) == ["a1", "b2"]

    async def test_a_retried_job_that_is_due_is_ordered_by_its_age(self, store: Store, clock: ManualClock) -> None:
        await submit(store, *specs("a1", "a2", user="a"))
        await finish(store, await claim_job(store, "a1"), Retried(failure(), delay=5))
        clock.advance(6)
        assert await take_singly(store, 2) == ["a1", "a2"]

    @pytest.mark.parametrize("sizes", [(1,), (1, 7, 3), (50,)], ids=str)
    async def test_twenty_users_get_equal_shares_though_one_submits_a_hundred_times_as_much(
        self, store: Store, sizes: tuple[int, ...]
    ) -> None:
        users = [f"u{n}" for n in range(20)]
        await submit(store, *specs(*(f"f{n}" for n in range(2000)), user="u0"))
        await submit(store, *(JobSpec(id=f"{user}-{n}", task="t", user=user) for user in users[1:] for n in range(20)))
        served: Counter[str] = Counter()
        for size in cycle(sizes):
            taken = await claim(store, limit=min(size, 200 - served.total()))
            served.update(each.record.spec.user or "" for each in taken)
            if served.total() == 200:
                break
        counts = [served[user] for user in users]
        assert sum(counts) ** 2 / (len(counts) * sum(count**2 for count in counts)) >= 0.95, served

    async def test_cancelling_all_but_one_of_a_thousand_jobs_costs_that_one_nothing(self, store: Store) -> None:
        many = [f"a{n}" for n in range(1000)]
        await submit(store, *specs(*many, user="a"), *specs("b1", "b2", user="b"))
        await store.cancel(many[:-1])
        assert sorted(await take_singly(store, 2)) == ["a999", "b1"]

    async def test_an_urgent_job_goes_before_the_thousand_others_of_its_user(self, store: Store) -> None:
        await submit(store, *specs(*(f"n{n}" for n in range(1000)), user="u", priority=-10))
        await claim(store, limit=10)
        await submit(store, *specs("urgent", user="u", priority=10))
        assert await take_singly(store, 1) == ["urgent"]
