"""The chat for clients that do not stream: an answer at once that says where to look for the result."""

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from examples.stock_chat.asking import CHAT, Ask, keep
from examples.stock_chat.conversations import conversations
from examples.stock_chat.tasks import answer
from examples.stock_chat.users import User
from sidelane import Job, LimitReached, ResultNotReady, State, UnknownJob

router = APIRouter()


class RequestStatus(BaseModel):
    """How a request stands, and where to look next."""

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
async def chat(chat_session_id: str, ask: Ask, user: User, request: Request) -> RequestStatus:
    """Take a question and say where its answer will be."""
    request_id = await keep(ask, chat_session_id, user)
    task = answer.options(id=request_id, user=user, key=f"chat:{chat_session_id}")
    try:
        job = await task.submit(ask.question(chat_session_id, user))
    except LimitReached:
        await conversations.forget(request_id)  # a question that was turned away was not asked
        raise
    return await status_of(job, request)


@router.get("/requests/{request_id}/status")
async def status(request_id: str, user: User, request: Request) -> RequestStatus:
    """Say how a request stands."""
    return await status_of(await own(request_id, user), request)


@router.get("/requests/{request_id}/result", responses={202: {"model": RequestStatus}})
async def result(request_id: str, user: User, request: Request, response: Response) -> RequestResult | RequestStatus:
    """Give a request's answer; 202 and its status while there is none yet. A failure is answered as its problem."""
    job = await own(request_id, user)
    try:
        text = await job.result(timeout=0)
    except ResultNotReady:
        response.status_code = 202
        return await status_of(job, request)
    return RequestResult(request_id=job.id, status=State.SUCCEEDED, answer=text)


async def own(request_id: str, user: str) -> Job[str]:
    """Find a user's job. Another user's looks like none at all: raises `UnknownJob` for both."""
    job = answer.job(request_id)
    if (await job.record()).spec.user != user:
        raise UnknownJob
    return job


async def status_of(job: Job[str], request: Request) -> RequestStatus:
    return RequestStatus(
        request_id=job.id,
        status=(await job.record()).state,
        status_url=str(request.url_for("status", request_id=job.id)),
        result_url=str(request.url_for("result", request_id=job.id)),
    )
