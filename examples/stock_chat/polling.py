"""The chat for clients that poll: an immediate answer with the URLs of status and result."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from examples.stock_chat.conversations import conversations
from examples.stock_chat.messages import CHAT, UserMessage, save_message
from examples.stock_chat.tasks import answer
from examples.stock_chat.users import User
from sidelane import Job, JobRemoved, LimitReached, ResultNotReady, State, UnknownJob

router = APIRouter()


class RequestStatus(BaseModel):
    """The state of a request, and its URLs."""

    request_id: str
    status: State
    status_url: str
    result_url: str


class RequestResult(BaseModel):
    """The finished answer to a request."""

    request_id: str
    status: State
    answer: str


@router.post(CHAT, status_code=202)
async def chat(chat_session_id: str, body: UserMessage, user: User, request: Request) -> RequestStatus:
    """Submit a question and return the URLs of its answer."""
    request_id = await save_message(body, chat_session_id, user)
    task = answer.options(id=request_id, user=user, key=f"chat:{chat_session_id}")
    try:
        job = await task.submit(body.question(chat_session_id, user))
    except LimitReached:
        await conversations.delete(request_id)  # the question will not be answered
        raise
    return await status_of(job, request)


@router.get("/requests/{request_id}/status")
async def status(request_id: str, user: User, request: Request) -> RequestStatus:
    """Get the state of a request."""
    return await status_of(await find_job(request_id, user), request)


@router.get("/requests/{request_id}/result", responses={202: {"model": RequestStatus}})
async def result(request_id: str, user: User, request: Request, response: Response) -> RequestResult | RequestStatus:
    """Get a request's answer, or 202 and its state while it is unfinished. A failure is answered as its problem."""
    job = await find_job(request_id, user)
    try:
        text = await job.result(timeout=0)
    except ResultNotReady:
        response.status_code = 202
        return await status_of(job, request)
    return RequestResult(request_id=job.id, status=State.SUCCEEDED, answer=text)


async def find_job(request_id: str, user: str) -> Job[str]:
    """Return a user's job. Raises `UnknownJob` with the same text if there is none and if it is, or was, another user's."""
    job = answer.job(request_id)
    try:
        owner = (await job.record()).spec.user
    except JobRemoved as removed:
        if removed.user == user:
            raise
        owner = removed.user
    if owner != user:
        raise UnknownJob(f"There is no job {request_id!r}.")
    return job


async def status_of(job: Job[str], request: Request) -> RequestStatus:
    return RequestStatus(
        request_id=job.id,
        status=(await job.record()).state,
        status_url=str(request.url_for("status", request_id=job.id)),
        result_url=str(request.url_for("result", request_id=job.id)),
    )
