"""HTTP service of the shop."""

from typing import Annotated

from fastapi import Depends, FastAPI, Response

from sidelane.web import Jobs, Responder
from tests.system.shop import add, hold, lane, tell

jobs = Jobs(lane, user=None, guessable=True)  # its jobs have ids that the tests choose
app = FastAPI(lifespan=lane.lifespan)
app.include_router(jobs.router, prefix="/jobs")

Respond = Annotated[Responder, Depends(jobs.respond)]


@app.get("/health")
async def health() -> str:
    return "ok"


@app.post("/sums/{job_id}", responses=jobs.responses(add))
async def sums(job_id: str, a: int, b: int, respond: Respond) -> Response:
    return await respond(add.options(id=job_id).call(a, b))


@app.post("/stories", responses=jobs.responses(tell))
async def stories(words: int, pace: float, respond: Respond) -> Response:
    return await respond(tell.call(words, pace))


@app.post("/holds", responses=jobs.responses(hold))
async def holds(respond: Respond) -> Response:
    return await respond(hold.call())
