"""Service that receives requests and sends feedback over Pub/Sub only."""

import os
import signal
from typing import Any

from pydantic import BaseModel

from sidelane import (
    Call,
    Context,
    FinishedJob,
    Message,
    MessageCallback,
    PermanentFailure,
    PubSub,
    Retry,
    Sidelane,
    State,
    Use,
)
from tests.system.shop import note, opened

lane = Sidelane()

RESULTS = PubSub(topic="leafresh-feedback-result-topic")
DEAD_LETTERS = PubSub(topic="leafresh-feedback-result-dlq-topic")
REQUESTS = PubSub(subscription="leafresh-feedback-sub", dead_letters=DEAD_LETTERS.topic)


class Feedback(BaseModel):
    """A request of the backend."""

    memberId: int  # noqa: N815 - the backend's own form
    content: str


@lane.callback_payload
def for_the_backend(job: FinishedJob) -> dict[str, Any]:
    """Return the backend's own form: if there is no text, the status takes its place."""
    failed = job.problem or {"status": 500}
    content = job.result if job.state is State.SUCCEEDED else failed["status"]
    return {"memberId": job.arguments["feedback"]["memberId"], "content": content}


@lane.callback_payload
def for_operators(job: FinishedJob) -> dict[str, Any]:
    """Return the request, the attempts and the problem."""
    return {"asked": job.arguments["feedback"], "attempts": job.attempts, "problem": job.problem}


@lane.task(
    max_worker_losses=1,
    retry=Retry(attempts=2),
    callback=[
        MessageCallback(to=RESULTS, body=for_the_backend),
        MessageCallback(to=DEAD_LETTERS, body=for_operators, on="failure"),
    ],
)
async def advise(feedback: Feedback, *, ctx: Context = Use(Context)) -> str:
    """Answer as the language model of the real service would, and fail in the ways that it has."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    if feedback.content == "poison":
        os.kill(os.getpid(), signal.SIGKILL)
    if feedback.content == "upstream is down":
        raise PermanentFailure("The language model does not answer.", status=502)
    if feedback.content == "slow":
        await opened("advised")
    return f"Well done: {feedback.content}"


@lane.consumer(REQUESTS)
def requests(message: Message) -> Call[str]:
    return advise.call(Feedback.model_validate_json(message.body))
