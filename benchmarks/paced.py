"""The service the benchmarks measure: chats of a paced token source, and a light endpoint beside them."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import Depends, FastAPI, Response

from sidelane import Sidelane
from sidelane.web import Jobs, Responder

lane = Sidelane()


@lane.task
async def chat(tokens: int, per_second: float) -> AsyncIterator[str]:
    """Yield tokens at a steady pace, each telling when it was made (nanoseconds of this machine's monotonic clock)."""
    began = time.monotonic()
    for number in range(tokens):
        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        yield f"{number}:{time.monotonic_ns()}"


@lane.task
async def started() -> int:
    """Tell when it was started (nanoseconds of this machine's monotonic clock)."""
    return time.monotonic_ns()


jobs = Jobs(lane, user=None)
app = FastAPI(lifespan=lane.lifespan)
app.include_router(jobs.router, prefix="/jobs")
Respond = Annotated[Responder, Depends(jobs.respond)]


@app.post("/chat")
async def ask(tokens: int, per_second: float, respond: Respond) -> Response:
    """Ask for a chat of so many tokens."""
    return await respond(chat.call(tokens, per_second))


@app.get("/light")
async def light() -> dict[str, str]:
    """Answer at once."""
    return {"light": "yes"}
