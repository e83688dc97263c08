"""Callbacks of an external job: its progress and its end."""

from typing import Any

import httpx2
from fastapi import FastAPI
from pydantic import BaseModel

from sidelane import Http, Webhook
from sidelane.web import Jobs
from tests.callbacks.conftest import MakeLane
from tests.callbacks.local_receivers import receiving


class AnalyseIn(BaseModel):
    audio: str


async def test_progress_and_end_of_an_external_job_are_reported(make_lane: MakeLane) -> None:
    lane = make_lane(jobs_url="http://service/jobs")
    app = FastAPI()
    app.include_router(Jobs(lane, user=None).router, prefix="/jobs")
    transport = httpx2.ASGITransport(app=app)
    async with receiving() as outside, receiving() as backend, lane.open(workers=1):
        analyse = lane.external_task("analyse", input=AnalyseIn, result=int, send_to=Http(outside.url))
        hook = Webhook(backend.url, progress=True)
        job = await analyse.options(callback=hook).submit(AnalyseIn(audio="a.wav"))
        (request,) = await outside.until(1)
        offer: Any = request.json["data"]
        authorized = {"Authorization": f"Bearer {offer['token']}"}
        async with httpx2.AsyncClient(transport=transport, headers=authorized) as client:
            events = {"events": [{"name": "progress", "data": {"percent": 30, "message": "listening"}}]}
            assert (await client.post(offer["events_url"], json=events)).is_success
            await backend.until(1)
            assert (await client.post(offer["complete_url"], json={"result": 7})).is_success
            told = [got.json for got in await backend.until(2)]
        assert [each["type"] for each in told] == ["job.progress", "job.succeeded"]
        assert told[0]["data"]["progress"] == {"percent": 30, "message": "listening"}
        assert (told[1]["data"]["id"], told[1]["data"]["result"]) == (job.id, 7)
