"""From a request to a question: what users send, stored before anything is done about it."""

from uuid import NAMESPACE_OID, uuid4, uuid5

from pydantic import BaseModel, Field

from examples.stock_chat.conversations import Message, conversations
from examples.stock_chat.tasks import Question

CHAT = "/api/v1/stockeasy/chat/sessions/{chat_session_id}/messages"


class Ask(BaseModel):
    """A user's message about a stock."""

    message: str = Field(min_length=1, max_length=500)
    stock_code: str = Field(pattern=r"^[0-9]{6}$")
    stock_name: str = Field(min_length=1, max_length=64)

    def question(self, session: str, user: str) -> Question:
        return Question(session=session, user=user, **self.model_dump())


async def keep(ask: Ask, session: str, user: str, idempotency_key: str | None = None) -> str:
    """Keep the user's message and give its id. Sent again under the same key, it stays one message."""
    unique = uuid5(NAMESPACE_OID, f"{user}:{idempotency_key}") if idempotency_key else uuid4()
    message = Message(id=unique.hex, session=session, user=user, role="user", content=ask.message)
    await conversations.save(message)
    return message.id
