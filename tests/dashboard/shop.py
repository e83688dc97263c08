"""A shop with a task of every kind, and its dashboard."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request

from sidelane import ConcurrencyLimit, Context, PermanentFailure, Queue, Retry, Sidelane, Use
from sidelane.web import Jobs
from sidelane.web.dashboard import Operator, Role, dashboard

OPERATORS = {
    "ann": Operator("ann", Role.OPERATOR),
    "vic": Operator("vic", Role.VIEWER),
}
"""Operators by the value of the cookie `who`, which is "ann" without a cookie."""


@dataclass
class Shop:
    """The lane and its tasks by name. `pace` is released once for each step that a paced task may do."""

    lane: Sidelane
    app: FastAPI
    pace: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(0))
    tasks: dict[str, Any] = field(default_factory=dict)


def current_operator(request: Request) -> Operator | None:
    """Return the operator whom the cookie `who` names."""
    return OPERATORS.get(request.cookies.get("who", "ann"))


def make_shop(
    folder: Path, *, store: str = "", workers: int = 1, include: Callable[[Sidelane, FastAPI], None] | None = None
) -> Shop:
    """Return a shop on a store, or on a new SQLite file. Its application opens the lane with that many workers.

    `include` adds the dashboard in another way than with `current_operator` below /ops.
    """
    lane = Sidelane(
        queues=[Queue("chat", target_wait=10), Queue("report"), Queue("small", max_queued=2)],
        store=store or f"sqlite:///{folder / 'jobs.db'}",
        settings={
            "lease_duration": 2.0,
            "cancel_grace": 0.5,
            "shutdown_timeout": 0.0,
            "release": "8ac11e0",
            "allow_private_callbacks": True,
        },
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with lane.open(workers=workers):
            yield

    shop = Shop(lane, FastAPI(lifespan=lifespan))
    shop.app.include_router(Jobs(lane, user=None).router, prefix="/jobs")
    if include is None:
        pages = dashboard(
            lane,
            operator=current_operator,
            title="shop",
            mask=["phone"],
            trace_url="https://traces.example.com/{trace_id}",
        )
        shop.app.include_router(pages, prefix="/ops")
    else:
        include(lane, shop.app)
    _declare_tasks(shop)
    return shop


def _declare_tasks(shop: Shop) -> None:
    lane = shop.lane

    async def answer(text: str, phone: str = "") -> AsyncIterator[str]:
        for word in text.split():
            await shop.pace.acquire()
            yield f"{word} "

    async def echo(text: str) -> str:
        return text

    async def fail(message: str) -> None:
        raise KeyError(message)

    async def refuse() -> None:
        raise PermanentFailure("There is no such stock.", status=404)

    async def report(*, ctx: Context = Use(Context)) -> int:
        await ctx.progress(40, "half way")
        await shop.pace.acquire()
        return 1

    limits = [ConcurrencyLimit(1, per="user", on_limit="wait", name="one-each")]
    tasks: list[Any] = [
        lane.task(queue="chat")(answer),
        lane.task(queue="chat")(echo),
        lane.task(queue="report", retry=Retry(attempts=1))(fail),
        lane.task(queue="report")(refuse),
        lane.task(queue="report", limits=limits)(report),
    ]
    shop.tasks = {task.name: task for task in tasks}
