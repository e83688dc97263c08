"""Screenshots of the dashboard for the documentation, from a demo shop that runs for half a minute.

python scripts/screenshots.py             write docs/images/*.png (needs Playwright and Debian's chromium)
python scripts/screenshots.py --serve     keep the shop running, to look around in it
"""

import asyncio
import json
import math
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import apsw
import uvicorn
from fastapi import FastAPI
from playwright.async_api import Browser, async_playwright

from sidelane import ConcurrencyLimit, Context, Job, Queue, Retry, Sidelane, Use
from sidelane.client.maintenance import report_worker_exit
from sidelane.model.history import BUCKETS, HOUR, STEPS, Count
from sidelane.model.job import JobSpec
from sidelane.model.worker import ClaimRequest, WorkerInfo
from sidelane.web.dashboard import Operator, Role, dashboard

IMAGES = Path(__file__).parents[1] / "docs" / "images"
PORT = 18_117
OLD, NEW = "2f91c0d", "8ac11e0"
RELEASED = 2.4 * HOUR
"""Seconds since the new release, which fails for feedback without a stock."""

PICTURES = {
    "attention-light": ("", "light", 1056),
    "queue-dark": ("queues/chat", "dark", 1180),
    "job-light": ("jobs/{job}", "light", 1000),
    "task-dark": ("tasks/rate_feedback", "dark", 900),
}
"""Path, theme and height of each picture."""

WORDS = (
    "Shares of Samsung Electronics (005930) closed at 71,400 won today, 1.3 % higher. Three things moved them. First, foreign "
    "investors bought shares for 812 billion won, most of them in the last hour. Second, the index of memory prices rose for the "
    "fourth week in a row. Third, the won was stronger against the dollar. "
)

folder = Path(tempfile.mkdtemp(prefix="sidelane-shop-"))
lane = Sidelane(
    queues=[Queue("chat", target_wait=10), Queue("feedback", target_wait=60), Queue("report"), Queue("import")],
    store=f"sqlite:///{folder / 'jobs.db'}",
    settings={"release": NEW, "shutdown_timeout": 0.0, "concurrency": 16},
)
model = ConcurrencyLimit(6, per="task", on_limit="wait", name="vllm")
each_user = ConcurrencyLimit(2, per="user", on_limit="wait", name="chats")


@lane.task(queue="chat", limits=[model, each_user], retry=Retry(attempts=3))
async def answer(question: str, phone: str = "", *, ctx: Context = Use(Context)) -> AsyncIterator[str]:
    """Answer a question about a stock."""
    words = (WORDS * 3).split()
    for number, word in enumerate(words):
        if ctx.attempt == 1 and number == 31 and "Why did" in question:
            raise TimeoutError("the model answered 503: overloaded")
        await asyncio.sleep(0.05 if ctx.attempt == 1 else 0.12)
        yield f"{word} "
    ctx.report_usage(input_tokens=820, output_tokens=len(words), cost=0.0031)


@lane.task(queue="feedback", retry=Retry(attempts=1))
async def rate_feedback(text: str, stock_code: str | None = None) -> int:
    """Rate what a customer wrote about a stock."""
    await asyncio.sleep(random.uniform(0.05, 0.4))
    if stock_code is None:
        raise KeyError("stock_code")
    return 5


@lane.task(queue="report")
async def monthly_report(account: int) -> int:
    """Write the report of an account."""
    await asyncio.sleep(random.uniform(3, 6))
    return account


@lane.task(queue="import", retry=Retry(attempts=1), max_worker_losses=1)
async def import_prices(day: str) -> int:
    """Read the prices of a day."""
    await asyncio.sleep(600)
    return 1


async def fill() -> Job[Any]:
    """Submit what happens in the shop, and return the job whose page is shown."""
    names = ["u-1207", "u-1242", "민지", "u-1311", "noor@example.com", "u-1409", "김서연", "u-1500"]
    chats = []
    for number in range(26):
        call = answer.options(user=names[number % 8], key=f"chat:{number:x}", labels={"plan": "pro"})
        question = "Why did 005930 rise today?" if number == 1 else f"What moved 00{5930 + number}?"
        chats.append(await call.submit(question, phone="+82 10 1234 5678"))
    for number in range(70):
        stock = None if number % 9 == 0 else "005930"
        await rate_feedback.options(user=names[number % 8]).submit("Good", stock_code=stock)
    for number in range(180):
        await monthly_report.options(user="batch-import" if number % 12 else names[number % 8]).submit(number)
    await lane.submit_many([monthly_report.options(user="u-1242").call(account) for account in range(20)])
    return chats[1]


async def lose_worker() -> None:
    """Let a worker die while it runs two jobs."""
    store = lane.client.store
    worker = WorkerInfo(
        id="import:ip-10-0-1-7:4121:9c", name="import", host="ip-10-0-1-7", release=NEW, memory=912_000_000
    )
    await store.heartbeat(worker, [], lease=60)
    spec = {"task": "import_prices", "queue": "import", "max_worker_losses": 0, "user": "u-1242"}
    await store.submit([JobSpec(id=f"prices-2026-11-{day}", **spec) for day in (27, 28)])
    await store.claim(ClaimRequest(request="1", worker=worker.id, queues={"import": 2}, limit=2, lease=60, release=NEW))
    await report_worker_exit(store, worker.id, "killed by SIGKILL: out of memory", lease=60)


def write_history() -> None:
    """Write the history of the last day: a day and a night, and a release that lets feedback fail."""
    now = time.time()
    tasks = {"answer": ("chat", 40, 4.0), "rate_feedback": ("feedback", 90, 0.3), "monthly_report": ("report", 12, 5.0)}
    with apsw.Connection(str(folder / "jobs.db")) as connection:
        for task, (queue, rate, seconds) in tasks.items():
            for release, since, until in ((OLD, 25 * HOUR, RELEASED), (NEW, RELEASED, 120.0)):
                series = connection.execute(
                    "INSERT INTO history_series (queue, task, release, seen) VALUES (?, ?, ?, ?)"
                    " ON CONFLICT DO UPDATE SET seen = excluded.seen RETURNING id",
                    (queue, task, release, now),
                ).fetchone()[0]
                failing = 0.11 if (task, release) == ("rate_feedback", NEW) else 0.002
                times = range(int(now - since) // 60 * 60, int(now - until), 60)
                minutes = [(at, _minute(at, rate, seconds, failing, speaks=task == "answer")) for at in times]
                for step in STEPS:
                    cells: dict[int, dict[int, int]] = {}
                    for at, counts in minutes:
                        cell = cells.setdefault(at // step * step, {})
                        for field, amount in counts.items():
                            cell[field] = cell.get(field, 0) + amount
                    rows = [
                        (step, at, series, json.dumps([value for pair in sorted(cell.items()) for value in pair]))
                        for at, cell in cells.items()
                    ]
                    connection.executemany("INSERT OR REPLACE INTO history_cells VALUES (?, ?, ?, ?)", rows)


def _minute(at: int, rate: float, seconds: float, failing: float, *, speaks: bool) -> dict[int, int]:
    """Return the counts of a task in one minute. `failing` is the share of jobs that fail, and `speaks` adds tokens."""
    daily = 0.55 + 0.45 * math.sin((at % 86_400) / 86_400 * 2 * math.pi - 0.6)
    count = max(1, round(rate * daily * random.uniform(0.8, 1.2)))
    failed = sum(random.random() < failing for _ in range(count))
    counts = Counter(
        {Count.SUBMITTED: count, Count.STARTED: count, Count.SUCCEEDED: count - failed, Count.FAILED: failed}
    )
    durations = [(Count.WAIT, Count.WAIT_MS, 0.4), (Count.RUN, Count.RUN_MS, seconds)]
    if speaks:
        durations.append((Count.FIRST_EVENT, Count.FIRST_EVENT_MS, 0.5))
        counts += Counter(
            {Count.OUTPUT_TOKENS: 180 * count, Count.COST_MICROS: 3100 * count, Count.STREAM_MS: round(3500 * count)}
        )
    for first, total, usual in durations:
        for _ in range(count):
            value = random.lognormvariate(math.log(usual), 0.5)
            bucket = next((index for index, bound in enumerate(BUCKETS) if value <= bound), len(BUCKETS))
            counts += Counter({first + bucket: 1, total: round(value * 1000)})
    return {int(field): amount for field, amount in counts.items() if amount}


shown: list[Job[Any]] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with lane.open():
        await lose_worker()
    write_history()
    async with lane.open(workers=2):
        shown.append(await fill())
        yield


async def take_pictures() -> None:
    """Wait until the shop has something to show, and write the pictures."""
    await asyncio.sleep(14)
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, (path, theme, height) in PICTURES.items():
            await _picture(chromium, IMAGES / f"dashboard-{name}.png", path.format(job=shown[0].id), theme, height)
        await chromium.close()


async def _picture(chromium: Browser, file: Path, path: str, theme: Any, height: int) -> None:
    context = await chromium.new_context(
        viewport={"width": 1180, "height": height}, color_scheme=theme, locale="en-GB", timezone_id="Asia/Seoul"
    )
    page = await context.new_page()
    await page.goto(f"http://127.0.0.1:{PORT}/ops/{path}")
    await page.wait_for_timeout(1500)  # charts are drawn
    picture = await page.screenshot(path=file)
    await context.close()
    print(f"{file}: {len(picture):,} bytes")


async def main() -> None:
    """Serve the shop, and write the pictures unless it is to keep running."""
    app = FastAPI(lifespan=lifespan)
    operator = Operator("ann", Role.OPERATOR)
    app.include_router(
        dashboard(lane, operator=lambda: operator, title="shop, production", mask=["phone"]), prefix="/ops"
    )
    server = uvicorn.Server(uvicorn.Config(app, port=PORT, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    if "--serve" in sys.argv:
        print(f"http://127.0.0.1:{PORT}/ops/")
    else:
        await take_pictures()
        server.should_exit = True
    await serving


if __name__ == "__main__":
    try:
        asyncio.run(main())
    finally:
        shutil.rmtree(folder)
