"""User messages: the request body, stored before its job is submitted."""

from uuid import NAMESPACE_OID, uuid4, uuid5

from pydantic import BaseModel, Field

from examples.stock_chat.conversations import Message, conversations
from examples.stock_chat.tasks import Question

CHAT = "/api/v1/stockeasy/chat/sessions/{chat_session_id}/messages"


class UserMessage(BaseModel):
    """A user's message about a stock."""

    message: str = Field(min_length=1, max_length=500)
    stock_code: str = Field(pattern=r"^[0-9]{6}$")
    stock_name: str = Field(min_length=1, max_length=64)

    def question(self, session: str, user: str) -> Question:
        """Return the argument of the task."""
        return Question(session=session, user=user, **self.model_dump())


async def save_message(body: UserMessage, session: str, user: str, idempotency_key: str | None = None) -> str:
    """Store the user's message and return its id. A repeat with the same key stores no second message."""
    unique = uuid5(NAMESPACE_OID, f"{user}:{idempotency_key}") if idempotency_key else uuid4()
    message = Message(id=unique.hex, session=session, user=user, role="user", content=body.message)
    await conversations.save(message)
    return message.id
