"""A service that receives hostile input: its API and its worker write down how long their event loops were blocked."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Response, UploadFile
from pydantic import BaseModel

from sidelane import Call, File, Http, Message, PermanentFailure, Problem, Sidelane, SidelaneError, Sqs, Webhook
from sidelane.web import Jobs, Responder, problem_handler

FOLDER = Path(os.environ["HOSTILE_FOLDER"])
TICK = 0.005
"""Seconds between two looks at the clock."""

MAX_UPLOAD = 10 << 20

lane = Sidelane()
probes: set[asyncio.Task[None]] = set()


def waited_for_processor() -> float:
    """Return the seconds that this thread was ready and had no processor, since its start."""
    return int(Path("/proc/thread-self/schedstat").read_text("utf-8").split()[1]) / 1e9


async def watch_loop(role: str) -> None:
    """Append to a file when a turn of the event loop ended, and by how many milliseconds it was late.

    Time without a processor is left out, because other processes cause it.
    """
    with (FOLDER / f"{role}.late").open("a", buffering=1, encoding="utf-8") as file:
        while True:
            began, waited = time.monotonic(), waited_for_processor()
            await asyncio.sleep(TICK)
            now = time.monotonic()
            late = now - began - TICK - (waited_for_processor() - waited)
            if late > TICK:
                file.write(f"{now} {1000 * late}\n")


def start_probe(role: str) -> None:
    task = asyncio.create_task(watch_loop(role))
    probes.add(task)


@lane.task
async def probe() -> None:
    """Watch the loop of the worker that runs this job."""
    start_probe("worker")


@lane.task
async def measure(text: str) -> int:
    return len(text)


class Order(BaseModel):
    item: Any


@lane.task
async def order(order: Order) -> str:
    return str(type(order.item))


@lane.task
async def write(size: int) -> str:
    return "x" * size


@lane.task(max_log_size=64 << 20)
async def pour(pieces: int, size: int, fails: bool) -> AsyncIterator[str]:
    for number in range(pieces):
        yield f"{number} ".ljust(size, ".")
    if fails:
        raise PermanentFailure(Problem(status=500, title="Failed on purpose"))


@lane.task
async def check(file: File) -> int:
    return file.size


external = lane.external_task(
    "analyse",
    input=Order,
    result=Order,
    send_to=Http(os.environ.get("HOSTILE_RECEIVER", "http://127.0.0.1:9/")),
    timeout=600,
)


if "HOSTILE_QUEUE" in os.environ:

    @lane.consumer(Sqs(os.environ["HOSTILE_QUEUE"]))
    def orders(message: Message) -> Call[str]:
        return order.call(Order.model_validate_json(message.body))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    async with lane.open():
        start_probe("api")
        yield


jobs = Jobs(lane, user=None, guessable=True)
app = FastAPI(lifespan=lifespan)
app.add_exception_handler(SidelaneError, problem_handler)
app.include_router(jobs.router, prefix="/jobs")
app.include_router(jobs.batches, prefix="/batches")
app.include_router(jobs.files, prefix="/files")
Respond = Annotated[Responder, Depends(jobs.respond)]


@app.get("/light")
async def light() -> str:
    return "ok"


@app.post("/probe")
async def probes_worker(respond: Respond) -> Response:
    return await respond(probe.call())


@app.post("/orders")
async def make_order(item: Order, respond: Respond) -> Response:
    return await respond(order.call(item))


@app.post("/measures")
async def measures(item: Order, respond: Respond) -> Response:
    return await respond(measure.call(item.item))


@app.post("/labels/{count}")
async def labels(count: int, respond: Respond) -> Response:
    return await respond(measure.options(labels={f"label{each}": "x" * 100 for each in range(count)}).call("x"))


@app.post("/writes/{size}")
async def writes(size: int, respond: Respond) -> Response:
    return await respond(write.call(size))


@app.post("/pours/{pieces}/{size}/{fails}")
async def pours(pieces: int, size: int, fails: bool, respond: Respond) -> Response:
    return await respond(pour.call(pieces, size, fails))


@app.post("/keyed/{count}")
async def keyed(count: int) -> None:
    await lane.submit_many([measure.options(key="shared", delay=3600).call("x") for _ in range(count)])


@app.post("/waiting")
async def waiting(respond: Respond) -> Response:
    return await respond(measure.options(delay=3600).call("x"))


@app.post("/batches-of/{count}")
async def batch(count: int, respond: Respond) -> Response:
    return await respond.many([measure.call("x" * 1000) for _ in range(count)])


@app.post("/uploads")
async def uploads(file: UploadFile, respond: Respond) -> Response:
    return await respond(check.call(await lane.files.save(file, max_bytes=MAX_UPLOAD)))


@app.post("/hooks")
async def hooks(url: str, respond: Respond) -> Response:
    return await respond(measure.options(callback=Webhook(url)).call("x"))


@app.post("/externals")
async def externals(respond: Respond) -> Response:
    return await respond(external.call(Order(item=1)))
