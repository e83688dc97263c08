"""From a request to the callback: 202, worker, callback; a failure looks the same everywhere (R8, R12)."""

import json
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, HTTPException, Response
from pydantic import BaseModel

from sidelane import FinishedJob, Sidelane, Webhook
from sidelane.model.errors import SidelaneError
from sidelane.web import Jobs, Responder, problem_handler
from tests.callbacks.conftest import MakeLane
from tests.callbacks.local_receivers import Receiver


class Feedback(BaseModel):
    member_id: int
    content: str


def service(lane: Sidelane, url: str) -> FastAPI:
    """A feedback service: a backend asks, a model answers, and a callback in the backend's format follows."""

    @lane.callback_payload
    def for_backend(ended: FinishedJob) -> dict[str, Any]:
        content = ended.problem["status"] if ended.problem else ended.result
        return {"memberId": ended.arguments["feedback"]["member_id"], "content": content}

    @lane.task(callback=Webhook(url, body=for_backend))
    async def review(feedback: Feedback) -> str:
        if not feedback.content:
            raise HTTPException(502, "The model did not answer.")
        return f"Good: {feedback.content}"

    jobs = Jobs(lane, user=None)
    app = FastAPI()
    app.include_router(jobs.router, prefix="/jobs")
    app.add_exception_handler(SidelaneError, problem_handler)

    @app.post("/ai/feedback")
    async def ask(feedback: Feedback, respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
        return await respond(review.call(feedback))

    @app.post("/ai/elsewhere")
    async def ask_for(feedback: Feedback, tell: str, respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
        return await respond(review.options(callback=Webhook(tell)).call(feedback))

    return app


@pytest.mark.row("R8")
@pytest.mark.row("R12")
async def test_backend_receives_success_and_failure(lane: Sidelane, receiver: Receiver) -> None:
    app = service(lane, receiver.url)
    async with lane.open(workers=1), called(app) as client:
        good = await client.post("/ai/feedback", json={"member_id": 3, "content": "…"})
        assert good.status_code == 202
        await receiver.until(1)
        assert receiver.received[0].json == {"memberId": 3, "content": "Good: …"}
        bad = await client.post("/ai/feedback", json={"member_id": 4, "content": ""})
        assert bad.status_code == 202
        await receiver.until(2)
        assert receiver.received[1].json == {"memberId": 4, "content": 502}
        shown = (await client.get(bad.json()["links"]["self"])).json()
        assert (shown["state"], shown["problem"]["status"]) == ("failed", 502)
        result = await client.get(bad.json()["links"]["result"])
        assert (result.status_code, result.json()["detail"]) == (502, "The model did not answer.")
        stream = (await client.get(bad.json()["links"]["events"])).text
        (end,) = [part for part in stream.split("\n\n") if "event: end" in part]
        assert json.loads(end.partition("data: ")[2])["problem"]["status"] == 502


async def test_private_url_in_a_request_is_a_422(make_lane: MakeLane, receiver: Receiver) -> None:
    lane = make_lane(allow_private_callbacks=False)
    app = service(lane, "https://be.example.com/jobs")
    asked = {"member_id": 3, "content": "…"}
    async with lane.open(), called(app) as client:
        for url in (receiver.url, "http://169.254.169.254/latest/meta-data", "file:///etc/passwd", "nonsense"):
            refused = await client.post("/ai/elsewhere", params={"tell": url}, json=asked)
            assert (refused.status_code, refused.headers["content-type"]) == (422, "application/problem+json")
        assert receiver.connections == 0


async def test_clients_never_see_internal_jobs(lane: Sidelane, receiver: Receiver) -> None:
    app = service(lane, receiver.url)
    async with lane.open(workers=1), called(app) as client:
        job = (await client.post("/ai/feedback", json={"member_id": 3, "content": "…"})).json()["id"]
        await receiver.until(1)
        assert (await lane.client.record(f"{job}.1.0")).spec.task == "sidelane.callback"
        for path in ("", "/result", "/events"):
            assert (await client.get(f"/jobs/{job}.1.0{path}")).status_code == 404
        assert (await client.post(f"/jobs/{job}.1.0/cancel")).status_code == 404


def called(app: FastAPI) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url="http://service")
