"""The slow work of the stock chat: writing an answer, token by token."""

import os
from collections.abc import AsyncIterator
from datetime import UTC, datetime

from openai import APIError, AsyncOpenAI
from pydantic import BaseModel

from examples.stock_chat.conversations import Message, conversations
from examples.stock_chat.lane import lane, model
from examples.stock_chat.prompt import prompt
from sidelane import ConcurrencyLimit, Context, Use

MODEL = os.environ.get("OPENAI_MODEL", "gemma-3-270m")
LONGEST_ANSWER = 120  # tokens
REMEMBERED = 2  # messages of the session that the model is told again; the small model has a short memory


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


lane.problem(APIError, status=502)  # the model's failures are not ours: its callers see a bad gateway


@lane.task(queue="chat", timeout=180, expires=60, limits=[ConcurrencyLimit(1, per="user", name="chats")])
async def answer(
    question: Question, *, llm: AsyncOpenAI = Use(model), ctx: Context = Use(Context)
) -> AsyncIterator[Start | str]:
    """Answer a question about a stock, and keep the answer in its session."""
    yield Start(job_id=ctx.job_id, message="The answer is being written.", timestamp=datetime.now(UTC))
    said = await conversations.recent(question.session, question.user, REMEMBERED + 1)
    before = [message for message in said if message.id != ctx.job_id]
    stream = await llm.chat.completions.create(
        model=MODEL,
        messages=prompt(f"{question.message} It is about {question.stock_name} ({question.stock_code}).", before),
        max_tokens=LONGEST_ANSWER,
        stream=True,
    )
    text = ""
    async for chunk in stream:
        token = chunk.choices[0].delta.content if chunk.choices else None
        if token:
            text += token
            yield token
    answered = Message(id=ctx.job_id, session=question.session, user=question.user, role="assistant", content=text)
    await conversations.save(answered)  # under the job's id: harmless to do again when the job is run again
