"""Contention: concurrent callers on one limit, batch or schedule."""

import asyncio
from dataclasses import replace

from sidelane.conformance.stores.actions import (
    LEASE,
    claim,
    failure,
    finish,
    ids,
    limit_usage,
    rate_limit,
    slot_limit,
    specs,
    states,
    submit,
)
from sidelane.conformance.stores.connections import ManyConnections
from sidelane.model.batch import BatchSpec
from sidelane.model.job import FINISHED, FollowUp, JobRecord, JobSpec, State, Submission
from sidelane.model.limit import Limit
from sidelane.model.outcome import AttemptResult, Retried, Succeeded
from sidelane.model.schedule import Schedule, ScheduleTick
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store


async def created(stores: list[Store], limit: Limit, count: int) -> list[str]:
    """Submit `count` jobs of one limit concurrently, and return those that were admitted."""
    wanted = [JobSpec(id=f"j{n}", task="t", limits=(limit,)) for n in range(count)]
    answers = await asyncio.gather(*(stores[n % 5].submit([spec]) for n, spec in enumerate(wanted)))
    return [each.record.id for (each,) in answers if isinstance(each, Submission)]


class Contention(ManyConnections):
    """Nothing is counted twice or missed."""

    async def test_concurrent_submits_are_admitted_up_to_the_limit(self, five: list[Store]) -> None:
        assert len(await created(five, slot_limit(7, "reject"), 50)) == 7
        assert await limit_usage(five[0]) == {"few/k": (7, 0)}

    async def test_concurrent_submits_are_admitted_up_to_the_rate(self, five: list[Store]) -> None:
        assert len(await created(five, rate_limit(10, 3600.0, "reject", burst=7), 50)) == 7

    async def test_of_concurrent_jobs_that_replace_each_other_one_is_left(self, five: list[Store]) -> None:
        names = await created(five, slot_limit(1, "replace"), 50)
        assert len(names) == 50
        assert sorted(await states(five[0], *names)) == [*[State.CANCELLED] * 49, State.QUEUED]

    async def test_never_more_jobs_run_than_the_limit_and_all_finish(self, five: list[Store]) -> None:
        many = [f"j{n}" for n in range(60)]
        limit = slot_limit(3, "wait")
        await submit(five[0], *(JobSpec(id=id_, task="t", user=id_[-1], limits=(limit,)) for id_ in many))
        running: set[str] = set()
        most = 0

        async def work(worker: int) -> None:
            nonlocal most
            store = five[worker % 5]
            while len(ended) < len(many):
                claimed = await claim(store, worker=f"w{worker}", limit=2)
                running.update(ids(claimed))
                most = max(most, len(running))
                for each in claimed:
                    await asyncio.sleep(0)
                    again = each.lease.attempt == 1 and worker % 3 == 0
                    running.discard(each.record.id)
                    await finish(store, each, Retried(failure()) if again else Succeeded("1"))
                    ended.update(() if again else [each.record.id])
                await asyncio.sleep(0)

        ended: set[str] = set()
        async with asyncio.timeout(20):
            await asyncio.gather(*map(work, range(12)))
        assert 1 < most <= 3
        assert await limit_usage(five[1]) == {}

    async def test_a_batch_whose_jobs_finish_concurrently_ends_once(self, five: list[Store]) -> None:
        for number in range(5):
            name = f"b{number}"
            await five[0].open_batch(BatchSpec(id=name, follow_ups=(FollowUp(FINISHED, JobSpec(id="", task="f")),)))
            names = [f"{name}-{n}" for n in range(10)]
            await submit(five[0], *(JobSpec(id=id_, task="t", queue=name, batch=name) for id_ in names))
            claimed = await claim(five[0], queues={name: 10})
            reports = [AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claimed]
            await asyncio.gather(
                *(five[n % 5].finish([report]) for n, report in enumerate(reports)),
                five[number].seal_batch(name),
                five[number - 1].seal_batch(name),
            )
            found = await five[0].get_batch(name)
            assert found is not None
            assert (found.state, found.succeeded, found.ends) == (State.SUCCEEDED, 10, 1)
            assert [isinstance(job, JobRecord) for job in await five[0].get([f"{name}.1.0", f"{name}.2.0"])] == [
                True,
                False,
            ]

    async def test_a_batch_opened_concurrently_is_one_batch(self, five: list[Store]) -> None:
        opened_batches = await asyncio.gather(
            *(five[n % 5].open_batch(BatchSpec(id="b", user=f"u{n}")) for n in range(20))
        )
        assert len({each.spec.user for each in opened_batches}) == 1

    async def test_of_concurrent_fires_of_a_schedule_one_counts(self, five: list[Store], clock: ManualClock) -> None:
        schedule = Schedule(name="s", spec=JobSpec(id="", task="t"), every=60.0)
        await asyncio.gather(*(store.upsert_schedule(schedule) for store in five))
        for number in range(10):
            last = (await five[0].list_schedules()).records[0].last
            step = ScheduleTick(name="s", previous=last, at=last + 60, next=last + 120)
            fired = await asyncio.gather(
                *(five[n % 5].fire(replace(step, specs=tuple(specs(f"s{number}-{n}")))) for n in range(20))
            )
            assert sum(fired) == 1
            (job,) = [job for job in await five[0].get([f"s{number}-{n}" for n in range(20)]) if job is not None]
            assert job.id == (await five[1].list_schedules()).records[0].job

    async def test_concurrent_sweeps_and_claims_unblock_no_more_than_the_limit(
        self, five: list[Store], clock: ManualClock
    ) -> None:
        limit = slot_limit(4, "wait")
        await submit(five[0], *specs(*(f"j{n}" for n in range(40)), limits=(limit,)))
        for _ in range(10):
            taken = await asyncio.gather(*(claim(five[n % 5], worker=f"w{n}", limit=3) for n in range(10)))
            claimed = [each for some in taken for each in some]
            assert len(claimed) == 4
            clock.advance(LEASE / 8)
            await asyncio.gather(
                *(
                    five[n % 5].finish([AttemptResult(lease=e.lease, outcome=Succeeded("1"))])
                    for n, e in enumerate(claimed)
                ),
                *(store.sweep(lease=LEASE) for store in five),
            )
        assert await limit_usage(five[0]) == {}
