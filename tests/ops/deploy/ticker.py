"""Service of the deployment tests: heavy and light routes that overlap, event streams, health routes, metrics and an upload."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, Response, UploadFile, WebSocket

from sidelane import Queue, Sidelane
from sidelane.web import Jobs, Responder

MAX_RECORDING = 30 * 2**20

lane = Sidelane(queues=[Queue("chat"), Queue("email")])
jobs = Jobs(lane, user=None)
app = FastAPI(lifespan=lane.lifespan)
app.include_router(jobs.router, prefix="/jobs")
app.include_router(jobs.batches, prefix="/batches")
app.include_router(jobs.health, prefix="/health")
app.include_router(jobs.metrics)

Respond = Annotated[Responder, Depends(jobs.respond)]


@lane.task(queue="chat", timeout=240)
async def tick(count: int, pace: float) -> AsyncIterator[str]:
    """Stream the time of the machine's clock."""
    for _ in range(count):
        await asyncio.sleep(pace)
        yield f"{time.clock_gettime(time.CLOCK_MONOTONIC)} "


@lane.task(queue="email", timeout=20)
async def mail() -> None:
    """Do nothing."""


@app.get("/ticks/recent")
async def recent() -> str:
    return "recent"


@app.post("/ticks/{name}", responses=jobs.responses(tick))
async def ticks(name: str, count: int, pace: float, respond: Respond) -> Response:
    return await respond(tick.options(key=name).call(count, pace))


@app.get("/ticks/{name}")
async def tick_name(name: str) -> str:
    return name


@app.post("/echo")
async def echo(body: dict[str, int]) -> dict[str, int]:
    return body


@app.post("/recordings")
async def recordings(recording: UploadFile) -> int:
    return (await lane.files.save(recording, max_bytes=MAX_RECORDING)).size


@app.websocket("/greetings")
async def greetings(websocket: WebSocket) -> None:
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()
