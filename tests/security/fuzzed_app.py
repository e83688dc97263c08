"""Application with every route that Sidelane has, and routes that submit each kind of task, for tests with random requests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, Response, UploadFile
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field

from sidelane import File, PermanentFailure, Problem, RateLimit, Result, Sidelane, SidelaneError
from sidelane.web import Jobs, Responder, problem_handler

USER = "ann"


class Order(BaseModel):
    """What a client orders."""

    item: str = Field(max_length=200)
    amount: int = Field(ge=1, le=1000)
    notes: list[str] = Field(default=[], max_length=10)


def make_app(folder: Path) -> FastAPI:
    """Return the application. Its lifespan opens the lane with a worker, so that jobs end."""
    lane = Sidelane(
        store=f"sqlite:///{folder / 'jobs.db'}",
        settings={
            "file_storage": str(folder / "files"),
            "files_url": "http://localhost/files",
            "payload_limit": 65_536,
        },
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        async with lane.open(workers=1):
            yield

    jobs = Jobs(lane, user=lambda: USER)
    app = FastAPI(lifespan=lifespan)
    app.add_exception_handler(SidelaneError, problem_handler)
    app.add_exception_handler(RequestValidationError, problem_handler)
    app.include_router(jobs.router, prefix="/jobs")
    app.include_router(jobs.batches, prefix="/batches")
    app.include_router(jobs.files, prefix="/files")
    app.include_router(_submitting_router(lane, jobs))
    return app


def _submitting_router(lane: Sidelane, jobs: Jobs) -> APIRouter:
    router = APIRouter(route_class=jobs.route)
    Respond = Annotated[Responder, Depends(jobs.respond)]  # noqa: N806 - a type of this application

    @lane.task
    async def order(item: Order) -> Order:
        return item

    @lane.task(limits=[RateLimit(20, window=1, per="user", on_limit="reject")])
    async def tell(words: int) -> AsyncIterator[str | Result[int]]:
        for number in range(words):
            yield f"{number} "
        yield Result(words)

    @lane.task
    async def fail(status: int) -> None:
        raise PermanentFailure(Problem(status=status, title="Failed on purpose"))

    @lane.task
    async def measure(file: File) -> int:
        return file.size

    @router.post("/orders", responses=jobs.responses(order))
    async def orders(item: Order, respond: Respond) -> Response:
        return await respond(order.call(item))

    @router.post("/order-lists", responses=jobs.responses(order, many=True))
    async def order_lists(items: list[Order], respond: Respond) -> Response:
        return await respond.many([order.call(item) for item in items])

    @router.post("/stories", responses=jobs.responses(tell))
    async def stories(words: Annotated[int, Field(ge=0, le=50)], respond: Respond) -> Response:
        return await respond(tell.options(key="story").call(words), stream=True)

    @router.post("/failures", responses=jobs.responses(fail))
    async def failures(respond: Respond) -> Response:
        return await respond(fail.call(500))

    @router.post("/uploads", responses=jobs.responses(measure))
    async def uploads(upload: UploadFile, respond: Respond) -> Response:
        return await respond(measure.call(await lane.files.save(upload, max_bytes=10_000)))

    return router
