"""The service under test: chats that stream tokens at a steady rate, and a light endpoint."""

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
    """Yield tokens at a steady rate; each contains the time it was made (nanoseconds of the monotonic clock)."""
    began = time.monotonic()
    for number in range(tokens):
        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        yield f"{number}:{time.monotonic_ns()}"


@lane.task
async def started() -> int:
    """Return the time it was started (nanoseconds of the monotonic clock)."""
    return time.monotonic_ns()


jobs = Jobs(lane, user=None)
app = FastAPI(lifespan=lane.lifespan)
app.include_router(jobs.router, prefix="/jobs")
Respond = Annotated[Responder, Depends(jobs.respond)]


@app.post("/chat")
async def ask(tokens: int, per_second: float, respond: Respond) -> Response:
    """Submit a chat of `tokens` tokens."""
    return await respond(chat.call(tokens, per_second))


@app.get("/light")
async def light() -> dict[str, str]:
    """Answer at once."""
    return {"light": "yes"}
