"""Tasks of the stock chat: writing an answer, token by token."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from openai import APIError, AsyncOpenAI
from pydantic import BaseModel

from examples.stock_chat.conversations import Message, conversations
from examples.stock_chat.lane import lane, model
from examples.stock_chat.prompt import prompt
from sidelane import ConcurrencyLimit, Context, Use, llm_span

MODEL = os.environ.get("OPENAI_MODEL", "gemma-3-270m")
MAX_ANSWER = 120  # tokens
HISTORY = 2  # earlier messages of the session in the prompt; the small model has a short context


class Question(BaseModel):
    """What a user asks in a session about a stock."""

    session: str
    user: str
    message: str
    stock_code: str
    stock_name: str


class Start(BaseModel):
    """The first event of an answer: named `start` in the stream."""

    job_id: str
    message: str
    timestamp: datetime


lane.problem(APIError, status=502)  # clients see a failure of the model as 502 Bad Gateway


@lane.task(queue="chat", timeout=180, expires=60, limits=[ConcurrencyLimit(1, per="user", name="chats")])
async def answer(
    question: Question, *, llm: AsyncOpenAI = Use(model), ctx: Context = Use(Context)
) -> AsyncIterator[Start | str]:
    """Answer a question about a stock, and store the answer in its session."""
    yield Start(job_id=ctx.job_id, message="The answer is being written.", timestamp=datetime.now(UTC))
    history = await conversations.recent(question.session, question.user, HISTORY + 1)
    before = [message for message in history if message.id != ctx.job_id]
    text = ""
    with llm_span("chat", model=MODEL, provider="openai", conversation=question.session) as call:
        stream = await llm.chat.completions.create(
            model=MODEL,
            messages=prompt(f"{question.message} It is about {question.stock_name} ({question.stock_code}).", before),
            max_tokens=MAX_ANSWER,
            stream=True,
            stream_options={"include_usage": True},
        )
        async for chunk in stream:
            call.response(chunk)
            token = chunk.choices[0].delta.content if chunk.choices else None
            if token:
                text += token
                yield token
    stored = Message(id=ctx.job_id, session=question.session, user=question.user, role="assistant", content=text)
    await conversations.save(stored)  # idempotent, because its id is the job's
