"""Time from the end of a job to its webhook, at 50 jobs a second: one receiver alone, and beside 100 receivers that never answer.

One worker process. Each of the 100 receivers gets ten webhooks; four of them are in flight at any time, for fifteen seconds each.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from statistics import median

from benchmarks.contestants import ContestantFailed, Trial
from benchmarks.figures import percentile
from benchmarks.measured import Figures
from benchmarks.workload import Bar, Column, Results, Workload
from sidelane import Sidelane, Task, Webhook

MOST = 2.0

DEAD, EACH = 100, 10

PER_SECOND = 50

Noop = Task[[], object, None]


@dataclass
class Live:
    """A receiver that answers at once. `late`: milliseconds from the end of each job to its webhook."""

    late: list[float] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).lower()
                length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
                body = json.loads(await reader.readexactly(length))
                ended = datetime.fromisoformat(body["data"]["ended"]).timestamp()
                self.late.append(1000 * (time.time() - ended))
                writer.write(b"HTTP/1.1 204 No Content\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.CancelledError):  # the client disconnected, or the benchmark ended
            writer.close()


@dataclass
class Dead:
    """Receivers that accept connections and never answer."""

    connections: int = 0
    _open: list[asyncio.StreamWriter] = field(default_factory=list)

    async def serve(self, _reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._open.append(writer)


def measure(trial: Trial, quick: bool) -> Figures:
    arguments = ("-m", "sidelane.cli", "worker", "sidelane_callbacks:lane", "--log-level", "ERROR")
    with trial.running(*arguments):
        return asyncio.run(compare(trial.environment["BENCH_URL"], 2 if quick else 15))


async def compare(url: str, seconds: int) -> Figures:
    """Measure the live receiver alone, then beside the dead ones."""
    lane = Sidelane(store=url, settings={"allow_private_callbacks": True})

    @lane.task(name="noop")
    async def task() -> None: ...

    live, dead = Live(), Dead()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(lane.open())
        hook = Webhook(await stack.enter_async_context(running(live)))
        await delays(task, live, hook, 1)  # opens the connections
        alone = await delays(task, live, hook, seconds)
        hooks = [Webhook(await stack.enter_async_context(running(dead))) for _ in range(DEAD)]
        await lane.submit_many([task.options(callback=each).call() for each in hooks for _ in range(EACH)])
        until = time.monotonic() + 60
        while dead.connections < 4 * DEAD:
            if time.monotonic() > until:
                raise ContestantFailed(f"only {dead.connections} webhooks of the dead receivers are in flight")
            await asyncio.sleep(0.05)
        beside = await delays(task, live, hook, seconds)
    return {
        "alone": percentile(alone, 0.99), "beside": percentile(beside, 0.99), "alone_p50": median(alone),
        "beside_p50": median(beside), "ratio": percentile(beside, 0.99) / percentile(alone, 0.99),
    }  # fmt: skip


async def delays(task: Noop, live: Live, hook: Webhook, seconds: int) -> list[float]:
    """Submit jobs at a steady rate and return the delays of their webhooks."""
    live.late.clear()
    began, jobs = time.monotonic(), seconds * PER_SECOND
    for number in range(jobs):
        await asyncio.sleep(max(0.0, began + number / PER_SECOND - time.monotonic()))
        await task.options(callback=hook).submit()
    until = time.monotonic() + 60
    while len(live.late) < jobs:
        if time.monotonic() > until:
            raise ContestantFailed(f"{jobs - len(live.late)} of {jobs} webhooks did not arrive")
        await asyncio.sleep(0.01)
    return list(live.late)


@asynccontextmanager
async def running(receiver: Live | Dead) -> AsyncIterator[str]:
    """Run a receiver on a free port and yield its URL."""
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/"
    server.close()


def bars(results: Results) -> list[Bar]:
    return [
        Bar(
            f"{name}: webhook, p99 beside {DEAD} dead receivers to p99 alone", f"{ratio:.2f} x", "<= 2 x", ratio <= MOST
        )
        for name, measured in results.items()
        if (ratio := measured.median("ratio")) is not None
    ]


WORKLOAD = Workload(
    name="callbacks",
    title="Callbacks",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="beside", heading="p99 beside the dead, ms", form="{:.1f}"),
        Column(figure="alone", heading="p99 alone, ms", form="{:.1f}"),
        Column(figure="ratio", heading="p99 to p99", form="{:.2f}"),
        Column(figure="beside_p50", heading="p50 beside, ms", form="{:.1f}"),
        Column(figure="alone_p50", heading="p50 alone, ms", form="{:.1f}"),
    ],
    bars=bars,
    lower_is_better=True,
    long=120.0,
    takes_part=lambda each: each.ours,
)
