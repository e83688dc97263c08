"""Figures of the SQLite store: drain, start, streams, light endpoint, idle worker, each with its target.

    python benchmarks/main_job.py [drain] [start] [stream] [light] [idle] [--quick]

Speeds are ratios within one run where possible, because machines are shared and noisy.
"""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import httpx2
from bare import BATCH, Bare
from figures import per_second, percentile, show
from processes import HERE, service, worker_process

from sidelane import Sidelane

QUICK = "--quick" in sys.argv
JOBS = 4_000 if QUICK else 20_000
CHATS, TOKENS, PER_SECOND = 100, 200, 20.0
ROUNDS = 1 if QUICK else 5


async def drained(path: Path) -> float:
    """Return the jobs per second of one worker that drains a full queue."""
    lane = Sidelane(store=f"sqlite:///{path}", settings={"concurrency": BATCH})

    @lane.task
    async def noop(number: int) -> None: ...

    async with lane.open():
        store = lane.client.store
        calls = [noop.call(number) for number in range(JOBS)]
        for first in range(0, JOBS, 200):
            await store.submit([call.spec() for call in calls[first : first + 200]])
        worker = lane.worker()
        began = time.perf_counter()
        running = asyncio.create_task(worker.run())
        while sum(queue.ready + queue.running for queue in await store.stats()):  # noqa: ASYNC110 - an empty queue has no event
            await asyncio.sleep(0.05)
        took = time.perf_counter() - began
        worker.drain()
        await running
    return JOBS / took


def drain() -> None:
    """One worker compared with a plain loop of the same transactions and batch size, alternately."""
    ratios = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            loop = Bare(Path(folder) / "bare.db")
            loop.submit(JOBS)
            floor = per_second(JOBS, loop.drain)
            loop.close()
            ours = asyncio.run(drained(Path(folder) / "jobs.db"))
            ratios.append((ours / floor, ours, floor))
    ratios.sort()
    ratio, ours, floor = ratios[ROUNDS // 2]
    spread = f"{ratios[0][0]:.2f}-{ratios[-1][0]:.2f}"
    show(
        f"no-op drain, {JOBS:,} jobs, FULL: worker / bare loop",
        f"{ratio:.2f} ({spread}; {ours:,.0f}/s, {floor:,.0f}/s)",
        ">= 0.4",
    )


def start() -> None:
    """Time from a submit in this process to the start in an idle worker process."""
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "jobs.db"
        with worker_process(store):
            waits = asyncio.run(_starts(store))
    show(
        "submit to start at rest, p50 / p99", f"{median(waits):.1f} / {percentile(waits, 0.99):.1f} ms", "p50 <= 10 ms"
    )


async def _starts(store: Path) -> list[float]:
    lane = Sidelane(store=f"sqlite:///{store}")

    @lane.task
    async def started() -> int:
        return 0

    waits = []
    async with lane.open():
        await (await started.submit()).result(30)
        for _ in range(200):
            began = time.monotonic_ns()
            job = await started.submit()
            waits.append((await job.result(10) - began) / 1e6)
            await asyncio.sleep(0.02)
    return waits


class Chats:
    """What the clients of many chats received: the delay of each token, and whether all arrived."""

    def __init__(self) -> None:
        self.delays: list[float] = []
        self.wrong: list[str] = []

    async def chat(self, client: httpx2.AsyncClient, tokens: int) -> None:
        """Stream one chat from its POST to its end."""
        url = f"/chat?tokens={tokens}&per_second={PER_SECOND}"
        expected, ended = 0, False
        async with client.stream("POST", url, headers={"Accept": "text/event-stream"}, timeout=60) as response:
            event = ""
            async for line in response.aiter_lines():
                if line.startswith("event: "):
                    event = line[7:]
                elif line.startswith("data: ") and event == "token":
                    number, _, made = json.loads(line[6:])["text"].partition(":")
                    self.delays.append((time.monotonic_ns() - int(made)) / 1e6)
                    if int(number) != expected:
                        self.wrong.append(f"token {number} instead of {expected}")
                    expected += 1
                elif line.startswith("data: ") and event == "end":
                    ended = True
        if expected != tokens or not ended:
            self.wrong.append(f"{expected} of {tokens} tokens, end: {ended}")

    async def run(self, base: str, chats: int, tokens: int) -> None:
        limits = httpx2.Limits(max_connections=chats)
        async with httpx2.AsyncClient(base_url=base, limits=limits) as client, asyncio.TaskGroup() as group:
            for _ in range(chats):
                group.create_task(self.chat(client, tokens))
                await asyncio.sleep(1 / PER_SECOND / chats)  # spread over one interval, as users are


def stream() -> None:
    """Time from a token in the worker to the client of the event stream, through the log."""
    with tempfile.TemporaryDirectory() as folder, service(Path(folder) / "jobs.db") as base:
        one, many = Chats(), Chats()
        asyncio.run(one.run(base, 1, 100))
        asyncio.run(many.run(base, CHATS, TOKENS))
    show(
        "token to client, one chat, p50 / p99",
        f"{median(one.delays):.1f} / {percentile(one.delays, 0.99):.1f} ms",
        "p50 <= 10 ms",
    )
    figure = f"{median(many.delays):.1f} / {percentile(many.delays, 0.99):.1f} ms, {len(many.wrong)} wrong"
    show(
        f"the same with {CHATS} chats x {PER_SECOND:.0f}/s, p50 / p99, lost or doubled", figure, "p50 <= 10 ms, 0 wrong"
    )
    for wrong in [*one.wrong, *many.wrong][:5]:
        print(f"  {wrong}")


async def light_p99(base: str, seconds: float) -> float:
    """Request the light endpoint 50 times a second, without waiting for earlier responses; return the p99 in milliseconds."""
    waits: list[float] = []

    async def ask(client: httpx2.AsyncClient) -> None:
        began = time.perf_counter()
        (await client.get("/light")).raise_for_status()
        waits.append((time.perf_counter() - began) * 1e3)

    async with httpx2.AsyncClient(base_url=base) as client, asyncio.TaskGroup() as group:
        for _ in range(int(seconds * 50)):
            group.create_task(ask(client))
            await asyncio.sleep(1 / 50)
    return percentile(waits, 0.99)


def light() -> None:
    """The light endpoint during 100 running chats, whose clients are a separate process."""
    rest, busy = [], []
    with tempfile.TemporaryDirectory() as folder, service(Path(folder) / "jobs.db") as base:
        for _ in range(ROUNDS):
            rest.append(asyncio.run(light_p99(base, 6)))
            chats = subprocess.Popen([sys.executable, __file__, "chats", base], cwd=HERE)
            time.sleep(2)
            busy.append(asyncio.run(light_p99(base, 6)))
            chats.wait()
    more = median([loaded - idle for loaded, idle in zip(busy, rest, strict=True)])
    figure = f"{median(busy):.1f} ms, at rest {median(rest):.1f} ms: + {more:.1f}"
    show(f"light endpoint p99 with {CHATS} chats running", figure, "at rest + 3 ms")


def idle() -> None:
    """What a worker takes while it waits, and what the import costs."""
    with tempfile.TemporaryDirectory() as folder, worker_process(Path(folder) / "jobs.db") as worker:
        time.sleep(5)
        before = cpu_seconds(worker.pid)
        time.sleep(10)
        used = (cpu_seconds(worker.pid) - before) / 10
        resident = int(next(line for line in status(worker.pid) if line.startswith("VmRSS")).split()[1]) / 1024
    show("idle worker: resident / share of a core", f"{resident:.0f} MB / {used:.1%}", "<= 70 MB")
    times = []
    compiled = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    for _ in range(2 * ROUNDS + 1):
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", "import sidelane"], check=True, env=compiled)
        whole = time.perf_counter() - began
        began = time.perf_counter()
        subprocess.run([sys.executable, "-c", ""], check=True, env=compiled)
        times.append(whole - (time.perf_counter() - began))
    del times[0]  # compiled the modules
    show("import sidelane, above a bare interpreter (median)", f"{median(times) * 1e3:.0f} ms", "<= 250 ms")


def status(pid: int) -> list[str]:
    return Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


BENCHMARKS: dict[str, Callable[[], None]] = {
    "drain": drain,
    "start": start,
    "stream": stream,
    "light": light,
    "idle": idle,
}


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["chats"]:
        asyncio.run(Chats().run(arguments[1], CHATS, int(8 * PER_SECOND)))
        return
    for name in [name for name in arguments if name in BENCHMARKS] or BENCHMARKS:
        BENCHMARKS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
