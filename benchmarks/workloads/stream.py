"""Chats of 20 tokens a second, one API process and one worker process: time from a token in the task to its client."""

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import psutil

from benchmarks.contestants import ContestantFailed, Trial
from benchmarks.measured import Figures
from benchmarks.server import free_port
from benchmarks.workload import Bar, Column, Results, Workload

PER_SECOND = 20
SLOTS = 1200
CLIENTS = Path(__file__).parents[1] / "chats.py"


@contextmanager
def service(trial: Trial) -> Iterator[tuple[str, psutil.Process]]:
    """Run one API process and one worker process; yield the API's URL and process."""
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    app, worker = "by_hand:app", [trial.contestant.script, "worker", str(SLOTS)]
    if trial.contestant.ours:
        app = "paced:app"
        worker = ["-m", "sidelane.cli", "worker", "paced:lane", "--concurrency", str(SLOTS), "--log-level", "WARNING"]
    quiet = ["--log-level", "warning", "--timeout-graceful-shutdown", "1"]
    with trial.running("-m", "uvicorn", app, "--port", str(port), *quiet) as api, trial.running(*worker, slots=SLOTS):
        _await(f"{base}/light", trial)
        clients(base, "chats", 1, 5, PER_SECOND)  # the worker is up
        yield base, psutil.Process(api.pid)


def clients(base: str, what: str, *arguments: object) -> dict[str, Any]:
    """Run clients in a separate process and return their figures."""
    done = subprocess.run(
        [sys.executable, str(CLIENTS), base, what, *map(str, arguments)], capture_output=True, text=True, check=False,
        timeout=300,
    )  # fmt: skip
    try:
        seen: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    except (IndexError, ValueError):
        raise ContestantFailed(f"clients: {done.stderr[-500:]}") from None
    return seen


def measure(trial: Trial, quick: bool) -> Figures:
    figures: Figures = {}
    tokens = 40 if quick else 200
    with service(trial) as (base, api):
        rest = api.memory_info().rss
        for chats in (100,) if quick else (100, 500, 1000):
            with PeakMemory(api) as memory:
                seen = clients(base, "chats", chats, tokens, PER_SECOND)
            wrong = seen["lost"] + seen["repeated"] + seen["unordered"] + seen["unended"]
            figures |= {f"p50_{chats}": seen["p50"], f"p99_{chats}": seen["p99"], f"wrong_{chats}": wrong}
            figures[f"kb_{chats}"] = (memory.peak - rest) / 1000 / chats
        broken = clients(base, "cuts", 50 if quick else 100, tokens, PER_SECOND)
        figures |= {"cut_lost": broken["lost"], "cut_repeated": broken["repeated"], "cut_tokens": broken["tokens"]}
    return figures


class PeakMemory:
    """The peak memory of a process inside the block, in bytes."""

    def __init__(self, process: psutil.Process) -> None:
        self.peak = 0
        self._process = process
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample)

    def __enter__(self) -> "PeakMemory":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._over.wait(0.25):
            self.peak = max(self.peak, self._process.memory_info().rss)


def _await(url: str, trial: Trial) -> None:
    until = time.monotonic() + 20
    while True:
        try:
            with urlopen(Request(url)):  # noqa: S310 - our own URL
                return
        except URLError:
            if time.monotonic() > until:
                raise ContestantFailed(f"the API does not answer: {trial.log_tail()}") from None
            time.sleep(0.05)


def bars(results: Results) -> list[Bar]:
    if "sidelane" not in results:
        return []
    ours, bars = results["sidelane"], []
    for chats, limit in ((500, 20), (1000, 300)):
        p99, wrong = ours.median(f"p99_{chats}"), ours.of(f"wrong_{chats}")
        if p99 is not None:
            bars.append(Bar(f"{chats} chats, token to client, p99", f"{p99:.1f} ms", f"<= {limit} ms", p99 <= limit))
            bars.append(
                Bar(f"{chats} chats, lost, repeated, unordered or unended", f"{sum(wrong):.0f}", "0", not sum(wrong))
            )
    kilobytes = ours.median("kb_500")
    if kilobytes is not None:
        bars.append(Bar("API memory of an open stream (500)", f"{kilobytes:.0f} kB", "<= 100 kB", kilobytes <= 100))
    lost = sum(ours.of("cut_lost")) + sum(ours.of("cut_repeated"))
    return [*bars, Bar("tokens lost or repeated where connections break", f"{lost:.0f}", "0", not lost)]


WORKLOAD = Workload(
    name="stream",
    title="Streaming",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="p99_100", heading="100 chats, p99 ms", form="{:.1f}"),
        Column(figure="p50_500", heading="500: p50 ms", form="{:.1f}"),
        Column(figure="p99_500", heading="500: p99 ms", form="{:.1f}"),
        Column(figure="wrong_500", heading="500: wrong"),
        Column(figure="p99_1000", heading="1,000: p99 ms", form="{:.1f}"),
        Column(figure="wrong_1000", heading="1,000: wrong"),
        Column(figure="kb_500", heading="API kB a stream"),
        Column(figure="cut_lost", heading="lost by broken connections"),
        Column(figure="cut_tokens", heading="of"),
    ],
    bars=bars,
    long=float("inf"),
    lower_is_better=True,
    quick=lambda each: each.store == "redis",
    takes_part=lambda each: each.streams,
)
