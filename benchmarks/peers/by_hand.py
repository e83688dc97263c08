# /// script
# requires-python = ">=3.11"
# dependencies = [
#   "arq==0.28.0", "redis[hiredis]==5.3.1", "uvloop==0.23.0", "fastapi==0.165.0", "uvicorn==0.54.0", "httptools==0.9.0",
# ]
# ///
"""Streaming by hand on a queue: an arq job publishes tokens, and the endpoint subscribes and streams them.

It subscribes before it enqueues, so an unbroken connection loses nothing. A broken connection cannot resume.
"""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import contest
import uvloop
from arq import create_pool
from arq.connections import RedisSettings
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

asyncio.set_event_loop(uvloop.new_event_loop())
SETTINGS = RedisSettings.from_dsn(contest.URL)
QUIET = {"version": 1, "disable_existing_loggers": False, "loggers": {"arq": {"level": "WARNING"}}}


async def chat(ctx: dict[str, Any], channel: str, tokens: int, per_second: float) -> None:
    """Publish tokens at a steady rate; each contains the time it was made."""
    began = time.monotonic()
    for number in range(tokens):
        await asyncio.sleep(max(0.0, began + number / per_second - time.monotonic()))
        await ctx["redis"].publish(channel, json.dumps({"text": f"{number}:{time.monotonic_ns()}"}))
    await ctx["redis"].publish(channel, "end")


class WorkerSettings:
    functions = (chat,)
    redis_settings = SETTINGS
    max_jobs = contest.SLOTS
    poll_delay = 0.05
    log_results = False


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.redis = await create_pool(SETTINGS)
    yield
    await app.state.redis.aclose()


app = FastAPI(lifespan=lifespan)


async def subscribed(channel: str) -> Any:
    listener = app.state.redis.pubsub()
    await listener.subscribe(channel)
    return listener


def answer(listener: Any, channel: str) -> StreamingResponse:
    async def frames() -> AsyncIterator[str]:
        try:
            async for message in listener.listen():
                if message["type"] != "message":
                    continue
                text = message["data"].decode()
                if text == "end":
                    yield "event: end\ndata: {}\n\n"
                    return
                yield f"event: token\ndata: {text}\n\n"
        finally:
            await listener.aclose()

    headers = {"Location": f"/jobs/{channel}", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(frames(), media_type="text/event-stream", headers=headers)


@app.post("/chat")
async def ask(tokens: int, per_second: float) -> StreamingResponse:
    channel = uuid4().hex
    listener = await subscribed(channel)
    await app.state.redis.enqueue_job("chat", channel, tokens, per_second)
    return answer(listener, channel)


@app.get("/jobs/{channel}/events")
async def again(channel: str) -> StreamingResponse:
    return answer(await subscribed(channel), channel)


@app.get("/light")
async def light() -> dict[str, str]:
    return {"light": "yes"}


class ByHand(contest.Peer):
    about = contest.About(
        packages=["arq", "fastapi", "uvicorn", "redis", "hiredis", "uvloop"],
        configuration="an arq job publishes each token, the endpoint subscribes to the job's channel; `poll_delay` 0.05 s; uvloop",
        source="redis.readthedocs.io/en/stable/examples/asyncio_examples.html, arq-docs.helpmanual.io",
        batch="",
        recovery="",
    )

    def worker(self, slots: int) -> list[str]:
        return ["-m", "arq", "by_hand.WorkerSettings", "--custom-log-dict", "by_hand.QUIET"]


if __name__ == "__main__":
    contest.main(ByHand())
