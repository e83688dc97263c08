"""A service with a task for every kind of response. Tests control how far its tasks run."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

from fastapi import Body, Depends, FastAPI, HTTPException, Response
from pydantic import BaseModel
from starlette.requests import HTTPConnection

from sidelane import (
    Call,
    CancelAfter,
    ConcurrencyLimit,
    Context,
    Fixed,
    PermanentFailure,
    Problem,
    Queue,
    RateLimit,
    Result,
    Retry,
    Sidelane,
    SidelaneError,
    Use,
)
from sidelane.stores.contract import job_topic
from sidelane.web import Jobs, Responder, problem_handler

GRACE_PERIOD = 0.6
RETENTION = 60.0

JsonBody = Annotated[Any, Body()]

logger = logging.getLogger(__name__)


class UpstreamError(Exception):
    """The language model refused."""


class Chart(BaseModel):
    """An object that a task emits beside its text."""

    title: str
    points: list[float]


class Pace:
    """Controls how far tasks run: each `step` of a task waits until the test allows it."""

    def __init__(self) -> None:
        self._steps = asyncio.Semaphore(0)
        self.running = asyncio.Event()
        self.stopped = asyncio.Event()

    def allow(self, steps: int = 1) -> None:
        for _ in range(steps):
            self._steps.release()

    async def step(self) -> None:
        self.running.set()
        try:
            await self._steps.acquire()
        except asyncio.CancelledError:
            self.stopped.set()
            raise


@dataclass
class Service:
    """The lane, its `Jobs` and the application. `tasks` are by name; POST /do/<name> submits one."""

    lane: Sidelane
    jobs: Jobs
    app: FastAPI
    pace: Pace
    tasks: dict[str, Any] = field(default_factory=dict)

    def is_subscribed(self, job_id: str) -> bool:
        """Return whether a stream in this process is subscribed to a job."""
        store: Any = self.lane.client.store
        return job_topic(job_id) in store._notifier._watches

    async def wait_unsubscribed(self, job_id: str) -> None:
        """Wait until no stream in this process is subscribed to a job."""
        async with asyncio.timeout(2):
            while self.is_subscribed(job_id):
                await asyncio.sleep(0.005)  # the end of a stream has no event


def current_user(connection: HTTPConnection) -> str | None:
    """Return the user in the header X-User."""
    return connection.headers.get("x-user")


def make_service(
    folder: Path,
    *,
    without_users: bool = False,
    guessable: bool | None = None,
    workers: int = 1,
    store: str = "",
    allowed_origins: Sequence[str] = (),
    **settings: Any,
) -> Service:
    """Make the service on `store`, or on a new SQLite file in `folder`. Its lifespan opens the lane with that many workers."""
    lane = Sidelane(
        queues=[Queue("chat", target_wait=10), Queue("small", max_queued=2)],
        store=store or f"sqlite:///{folder / 'jobs.db'}",
        settings={"lease_duration": 2.0, "cancel_grace": 0.5, "shutdown_timeout": 0.0, **settings},
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with lane.open(workers=workers):
            yield

    pace = Pace()
    jobs = Jobs(
        lane, user=None if without_users else current_user, guessable=guessable, allowed_origins=allowed_origins
    )
    app = FastAPI(lifespan=lifespan)
    app.add_exception_handler(SidelaneError, problem_handler)
    app.include_router(jobs.router, prefix="/jobs")
    app.include_router(jobs.batches, prefix="/batches")
    app.include_router(jobs.health, prefix="/health")
    app.include_router(jobs.metrics)
    app.include_router(jobs.scale)
    service = Service(lane, jobs, app, pace)
    _register_tasks(service)
    _register_failing_tasks(service)
    _register_limited_tasks(service)
    _add_routes(service)
    return service


def _register_tasks(service: Service) -> None:
    lane, pace = service.lane, service.pace

    async def echo(text: str = "") -> str:
        return text

    async def talk(words: int) -> AsyncIterator[str]:
        for number in range(words):
            logger.warning("before word %d", number)  # clients never see it
            yield f"word{number} "

    async def repeat(text: str, times: int) -> AsyncIterator[str | Result[int]]:
        for _ in range(times):
            yield text
        yield Result(times)

    async def paced(words: int = 1) -> AsyncIterator[str]:
        for number in range(words):
            logger.warning("before word %d", number)
            await pace.step()
            yield f"word{number} "

    async def held() -> str:
        await pace.step()
        return "done"

    async def draw(points: int, *, ctx: Context = Use(Context)) -> AsyncIterator[str | Chart | Result[Chart]]:
        await ctx.progress(50, "drawing")
        await ctx.emit("note", {"text": "zwölf\n\r\u2028 lines", "nothing": None, "infinite": math.inf})
        chart = Chart(title="<chart>", points=[float(point) for point in range(points)])
        yield chart
        yield "Here it is."
        yield Result(chart)

    _register(
        service,
        [
            lane.task(echo),
            lane.task(queue="chat", keep_logs=True)(talk),
            lane.task(queue="chat", keep_logs=True)(paced),
            lane.task(repeat),
            lane.task(held),
            lane.task(draw),
            lane.task(name="fleeting", retention=RETENTION)(echo),
            lane.task(name="watched", on_disconnect=CancelAfter(after=GRACE_PERIOD))(paced),
            lane.task(name="unwatched", on_disconnect="continue")(paced),
        ],
    )


def _register_failing_tasks(service: Service) -> None:
    lane, pace = service.lane, service.pace

    async def flaky(*, ctx: Context = Use(Context)) -> AsyncIterator[str]:
        yield f"attempt {ctx.attempt}"
        if ctx.attempt == 1:
            await pace.step()
            raise RuntimeError("the secret message of an exception")

    async def broken() -> AsyncIterator[str]:
        yield "so far, so good"
        raise ValueError("the secret message of an exception")

    async def teapot() -> str:
        raise HTTPException(418, "I am a teapot.")

    async def picky() -> str:
        raise HTTPException(422, [{"loc": ["body", "x"], "msg": "is missing"}])

    async def upstream() -> str:
        raise UpstreamError("model overloaded")

    async def no_credit() -> str:
        raise PermanentFailure(Problem(status=402, title="No credit", detail="Buy some.", extra={"balance": 0}))

    async def wrong_status() -> str:
        raise PermanentFailure("This status is not an error.", status=204)

    async def slow() -> str:
        await asyncio.sleep(60)
        return "never"

    lane.problem(UpstreamError, status=502, title="Model failed")
    _register(
        service,
        [
            lane.task(retry=Retry(attempts=2, backoff=Fixed(0)))(flaky),
            lane.task(broken),
            lane.task(teapot),
            lane.task(picky),
            lane.task(upstream),
            lane.task(no_credit),
            lane.task(wrong_status),
            lane.task(timeout=0.2)(slow),
        ],
    )


def _register_limited_tasks(service: Service) -> None:
    lane, pace = service.lane, service.pace

    async def held() -> str:
        await pace.step()
        return "done"

    async def stock(symbol: str) -> str:
        await pace.step()
        return symbol

    async def paced(words: int = 1) -> AsyncIterator[str]:
        for number in range(words):
            await pace.step()
            yield f"word{number} "

    async def echo(text: str = "") -> str:
        return text

    by_stock = ConcurrencyLimit(1, per=lambda symbol: symbol, name="chat-per-stock")
    two = ConcurrencyLimit(2, per="user", name="two-per-user")
    a_minute = RateLimit("2/minute", per="user", name="per-minute")
    _register(
        service,
        [
            lane.task(name="one", limits=[ConcurrencyLimit(1, per="user", name="chat-per-user")])(held),
            lane.task(
                name="worded",
                limits=[ConcurrencyLimit(1, per="user", message="이미 처리 중인 요청이 있습니다.", name="worded")],
            )(held),
            lane.task(limits=[by_stock])(stock),
            lane.task(name="rated", limits=[a_minute])(echo),
            lane.task(name="both", limits=[two, a_minute])(held),
            lane.task(name="two", limits=[two])(held),
            lane.task(name="newest", limits=[ConcurrencyLimit(1, per="user", on_limit="replace", name="newest")])(
                paced
            ),
            lane.task(name="patient", limits=[ConcurrencyLimit(1, per="user", on_limit="wait", name="one-at-a-time")])(
                held
            ),
            lane.task(name="queued", queue="small")(echo),
        ],
    )


def _register(service: Service, tasks: list[Any]) -> None:
    service.tasks.update((task.name, task) for task in tasks)


def _add_routes(service: Service) -> None:
    Respond = Annotated[Responder, Depends(service.jobs.respond)]  # noqa: N806 - a type of this service

    @service.app.post("/do/{name}")
    async def do(
        name: str,
        respond: Respond,
        arguments: JsonBody = None,
        key: str | None = None,
        chosen: str | None = None,
        stream: bool = False,
    ) -> Response:
        task = service.tasks[name].options(key=key, id=chosen)
        call: Call[Any] = task.call(**(arguments or {}))
        return await respond(call, stream=stream)

    @service.app.post("/many/{name}")
    async def many(
        name: str, respond: Respond, arguments: Annotated[list[dict[str, Any]], Body()], then: str | None = None
    ) -> Response:
        after = [service.tasks[then].call()] if then else []
        return await respond.many((service.tasks[name].call(**each) for each in arguments), then=after)

    @service.app.get("/light")
    async def light() -> str:
        return "ok"
