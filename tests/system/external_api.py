"""HTTP service of the lane of external tasks."""

from typing import Annotated

from fastapi import Depends, FastAPI, Response

from sidelane.web import Jobs, Responder
from tests.system.external_app import Text, count_by_http, lane

jobs = Jobs(lane, user=None)
app = FastAPI(lifespan=lane.lifespan)
app.include_router(jobs.router, prefix="/jobs")

Respond = Annotated[Responder, Depends(jobs.respond)]


@app.post("/counts", responses=jobs.responses(count_by_http))
async def counts(text: Text, respond: Respond) -> Response:
    return await respond(count_by_http.call(text))
