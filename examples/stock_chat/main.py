"""The FastAPI application: its answers take seconds, and its other endpoints stay fast. It runs as two kinds of process:

    uvicorn examples.stock_chat.main:app
    sidelane worker examples.stock_chat.lane:lane

The first accepts questions and streams answers; any number of the second write them.
"""

from typing import Annotated

from fastapi import Depends, FastAPI, Header, Response

from examples.stock_chat import polling, stocks
from examples.stock_chat.conversations import conversations
from examples.stock_chat.lane import lane
from examples.stock_chat.messages import CHAT, UserMessage, save_message
from examples.stock_chat.tasks import answer
from examples.stock_chat.users import User, current_user
from sidelane import SidelaneError
from sidelane.web import Jobs, Responder, problem_handler

jobs = Jobs(lane, user=current_user)
Respond = Annotated[Responder, Depends(jobs.respond)]

app = FastAPI(title="Stock chat", lifespan=lane.lifespan)
app.add_exception_handler(SidelaneError, problem_handler)
app.include_router(jobs.router, prefix="/jobs")
app.include_router(polling.router)
app.include_router(stocks.router)


@app.post(f"{CHAT}/stream", responses=jobs.responses(answer))
async def stream(
    chat_session_id: str,
    body: UserMessage,
    user: User,
    respond: Respond,
    last_event_id: Annotated[str | None, Header()] = None,
    idempotency_key: Annotated[str | None, Header()] = None,
) -> Response:
    """Stream the answer: `start`, tokens, `end`. With `Last-Event-ID`, resume a broken stream."""
    task, message_id = answer.options(key=f"chat:{chat_session_id}"), None
    if not last_event_id:  # a resumed stream submits nothing
        message_id = await save_message(body, chat_session_id, user, idempotency_key)
        task = task.options(id=message_id)
    response = await respond(task.call(body.question(chat_session_id, user)), stream=True)
    if response.status_code == 429 and message_id:
        await conversations.delete(message_id)  # the question will not be answered
    return response


@app.get("/health")
async def health() -> dict[str, str]:
    """Report that the service is up."""
    return {"status": "ok"}
