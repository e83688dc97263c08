"""The cost of traces: `python -m benchmarks.tracing [jobs] [streams] [span] [--rounds N] [--jobs N] [--token-time S]`.

jobs     jobs of 50 ms per second of one worker with 100 slots, in pairs: with traces to a collector on this machine, JSON logs and
         metrics, and without these. Each job logs one line in both
streams  the same, of jobs that yield 50 tokens, one in `--token-time` seconds. By default, that is the pace of a language model.
         With 0.001, the event loop is the bottleneck
span     microseconds of CPU for one span with the attributes of an attempt, until it is sent
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.history import compare, run_program
from sidelane.exporters.tracing import open_tracer
from sidelane.model.job import JobSpec
from sidelane.model.settings import Settings
from sidelane.telemetry.spans import job_attributes
from sidelane.telemetry.tracer import NEW_TRACE, SpanKind

SPANS = 20_000
BAR = 0.95
ON = {"SIDELANE_TRACES": "otlp", "SIDELANE_LOG_FORMAT": "json"}
"""With traces, the figures of the process are kept too."""

SOURCE = Path(__file__).parents[1] / "src"

RUN = """
import asyncio, logging, os, sys, time
from collections.abc import AsyncIterator
from sidelane import Sidelane
from sidelane.cli.worker_main import run_and_exit
from sidelane.processes.logs import LogOptions, log_to_stderr
from sidelane.tasks.job_log_filter import JobLogFilter
from sidelane.telemetry.figures import PROCESS_FIGURES

logger = logging.getLogger("shop")
lane = Sidelane(store=sys.argv[1])
everything = bool(lane.settings.traces)
sys.stderr = open(os.devnull, "w")
log_to_stderr(LogOptions(name="worker", level="INFO", format=lane.settings.log_format), *([JobLogFilter()] * everything))
if everything:
    PROCESS_FIGURES.listen(lane.telemetry)
jobs = int(sys.argv[2])
left = jobs
done = asyncio.Event()

def count() -> None:
    global left
    left -= 1
    if not left:
        done.set()

@lane.task
async def work() -> None:
    logger.info("asked the model")
    await asyncio.sleep(0.05)
    count()

@lane.task
async def talk() -> AsyncIterator[str]:
    logger.info("asked the model")
    for _ in range(50):
        yield "token "
        await asyncio.sleep(TOKEN_TIME)
    count()

async def main() -> None:
    async with lane.open():
        for first in range(0, jobs, 500):
            await lane.submit_many((talk if STREAMS else work).call() for _ in range(min(500, jobs - first)))
        worker = lane.worker()
        began, cpu = time.perf_counter(), time.process_time()
        running = asyncio.create_task(worker.run())
        await done.wait()
        worker.drain()
        await running
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
    print(f"    {cpu / jobs * 1e6:.0f} us of CPU per job", file=sys.__stderr__)
    print(jobs / took, flush=True)

run_and_exit(main, debug=True)
"""
"""Runs jobs that were submitted before, in a process like those of `sidelane worker`, and prints how many per second."""

COLLECTOR = """
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *arguments): ...

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_port, flush=True)
server.serve_forever()
"""


@contextmanager
def collecting() -> Iterator[str]:
    """Run a collector in another process inside the block, and return its URL."""
    with subprocess.Popen([sys.executable, "-c", COLLECTOR], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{process.stdout.readline().strip()}"
        finally:
            process.kill()


def rate(jobs: int, *, streams: bool, token_time: float, **environment: str) -> float:
    """Return the jobs per second of one worker with 100 slots, on a new store."""
    with tempfile.TemporaryDirectory() as folder:
        program = f"STREAMS = {streams}\nTOKEN_TIME = {token_time}\n{RUN}"
        return run_program(program, SOURCE, f"sqlite:///{folder}/jobs.db", jobs=jobs, **environment)


def throughput(url: str, *, streams: bool, rounds: int, jobs: int, token_time: float) -> None:
    print("jobs that yield 50 tokens" if streams else "jobs of 50 ms")
    compare(
        lambda: rate(jobs, streams=streams, token_time=token_time, OTEL_EXPORTER_OTLP_ENDPOINT=url, **ON),
        lambda: rate(jobs, streams=streams, token_time=token_time),
        rounds=rounds, bar=BAR,
    )  # fmt: skip


async def span_cost() -> None:
    """Print how much CPU time a span takes: in the thread that starts and ends it, and until it is sent."""
    tracer = open_tracer(Settings(traces="otlp"))
    spec = JobSpec(id="0" * 32, task="answer", queue="chat", user="u1")
    began, thread_began = time.process_time(), time.thread_time()
    for number in range(SPANS):
        attributes = {**job_attributes("process", spec), "sidelane.attempt": 1, "sidelane.worker": "worker-1"}
        span = tracer.start("process chat", kind=SpanKind.CONSUMER, parent=NEW_TRACE, attributes=attributes)
        span.set({"sidelane.outcome": "succeeded"})
        span.end()
        if number % 1000 == 0:
            await tracer.flush(10.0)
    thread = time.thread_time() - thread_began
    await tracer.close()
    total = time.process_time() - began
    print(f"{thread / SPANS * 1e6:.1f} us per span to record it, {total / SPANS * 1e6:.1f} us until it is sent")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("what", nargs="+", choices=["jobs", "streams", "span"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--token-time", type=float, default=0.02)
    arguments = parser.parse_args()
    with collecting() as url:
        if "span" in arguments.what:
            os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = url
            asyncio.run(span_cost())
        for what in ("jobs", "streams"):
            if what in arguments.what:
                jobs = arguments.jobs if what == "jobs" else arguments.jobs // 10
                throughput(
                    url, streams=what == "streams", rounds=arguments.rounds, jobs=jobs, token_time=arguments.token_time
                )


if __name__ == "__main__":
    main()
