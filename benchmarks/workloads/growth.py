"""Long and short queues: how fast one worker runs the first 1,000 jobs of 1,000, and of very many."""

import asyncio
import time
from collections.abc import Sequence
from statistics import median

from benchmarks.contestants import ContestantFailed, Trial
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload
from sidelane.model.ids import new_id, new_nonce
from sidelane.model.job import JobSpec
from sidelane.model.worker import ClaimRequest
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store

FEW = 1_000
CLAIM = 100
CLAIMS = 30


def measure(trial: Trial, quick: bool) -> Figures:
    contestant = trial.contestant
    many = 20_000 if quick else 1_000_000 if contestant.ours else int(100_000 * contestant.share)
    few_rate, many_rate = (first_thousand(trial, jobs) for jobs in (FEW, many))
    figures = {"few": few_rate, "many": many_rate, "jobs": many, "slower": few_rate / many_rate}
    return figures | (asyncio.run(claims(trial, many)) if contestant.ours else {})


def first_thousand(trial: Trial, jobs: int) -> float:
    """Return the jobs per second of the first thousand jobs, in a queue of `jobs`."""
    (trial.folder / "marks").unlink(missing_ok=True)
    trial.ask("submit", "noop", jobs, "batched", timeout=600)
    with trial.worker(trial.contestant.drain_slots or trial.contestant.slots):
        until = time.monotonic() + 60
        while trial.count() < FEW:
            if time.monotonic() > until:
                raise ContestantFailed(f"{trial.count()} of {jobs}: {trial.log_tail()}")
            time.sleep(0.01)
    times = sorted(at for _, _, at in trial.marks())
    return FEW / ((times[FEW - 1] - times[0]) / 1e9)


async def claims(trial: Trial, many: int) -> Figures:
    """Time claims of 100 jobs from a queue of 1,000 and from a very long one, alternately, both warm."""
    url = trial.environment["BENCH_URL"]
    other = f"{url}?name=few" if url.startswith("redis") else f"sqlite:///{trial.folder / 'few.db'}"
    stores = {"claim_many": await open_store(url), "claim_few": await open_store(other)}
    waiting = {"claim_many": many, "claim_few": FEW}
    for name, store in stores.items():
        present = sum(queue.ready for queue in await store.stats())
        await fill(store, waiting[name] - present)
        await claim(store)
    took: dict[str, list[float]] = {name: [] for name in stores}
    for _ in range(CLAIMS):
        for name, store in stores.items():
            await fill(store, CLAIM)
            took[name].append(await claim(store))
    for store in stores.values():
        await store.close()
    figures = {name: 1000 * median(times) for name, times in took.items()}
    return figures | {"claim_ratio": figures["claim_many"] / figures["claim_few"]}


async def fill(store: Store, jobs: int) -> None:
    for first in range(0, jobs, 200):
        await store.submit(specs(min(200, jobs - first)))


def specs(jobs: int) -> Sequence[JobSpec]:
    return [JobSpec(id=new_id(), task="noop", arguments='{"number":1,"text":""}') for _ in range(jobs)]


async def claim(store: Store) -> float:
    """Claim a hundred jobs and return the seconds it took."""
    request = ClaimRequest(
        request=new_nonce(), worker="bench", queues={"default": CLAIM}, tasks={"noop": 1}, limit=CLAIM, lease=600.0
    )
    began = time.perf_counter()
    claimed = await store.claim(request)
    took = time.perf_counter() - began
    if len(claimed.jobs) != CLAIM:
        raise ContestantFailed(f"claimed {len(claimed.jobs)} of {CLAIM}")
    return took


def bars(results: Results) -> list[Bar]:
    held = []
    for name in ("sidelane", "sidelane-sqlite"):
        ratio = results[name].median("claim_ratio") if name in results else None
        if ratio is not None:
            jobs = results[name].median("jobs") or 0
            what = f"{name}: claiming {CLAIM} of {jobs:,.0f} to claiming {CLAIM} of {FEW:,}"
            held.append(Bar(what, f"{ratio:.2f} x", "<= 1.5 x", ratio <= 1.5))
    return held


WORKLOAD = Workload(
    name="growth",
    title="Growth",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="many", heading="jobs/s, many queued"),
        Column(figure="jobs", heading="many"),
        Column(figure="few", heading="jobs/s, 1,000 queued"),
        Column(figure="slower", heading="times slower", form="{:.2f}"),
        Column(figure="claim_many", heading="claim 100 of many, ms", form="{:.2f}"),
        Column(figure="claim_few", heading="of 1,000, ms", form="{:.2f}"),
        Column(figure="claim_ratio", heading="ratio", form="{:.2f}"),
    ],
    bars=bars,
    quick=lambda each: each.name == "sidelane",
)
