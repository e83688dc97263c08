"""Conversations: the messages of each chat session, in a table of the example, separate from Sidelane's store."""

import asyncio
import os
import sqlite3
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Role = Literal["user", "assistant"]

TABLE = """
    CREATE TABLE IF NOT EXISTS message (
        id TEXT, session TEXT, user TEXT, role TEXT, content TEXT, at TEXT DEFAULT CURRENT_TIMESTAMP,
        PRIMARY KEY (id, role)
    )
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a session. The id of an answer is that of the job that wrote it."""

    id: str
    session: str
    user: str
    role: Role
    content: str


class Conversations:
    """Messages in a SQLite file, accessed in threads so that the event loop never waits for the disk."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def save(self, message: Message) -> None:
        """Store a message. A message with the same id is replaced, so a job that runs twice leaves one answer."""
        await asyncio.to_thread(self._save, message)

    async def delete(self, message_id: str) -> None:
        """Delete a user's message that will not be answered."""
        await asyncio.to_thread(self._delete, message_id)

    async def recent(self, session: str, user: str, limit: int) -> list[Message]:
        """Return the last messages of a user's session, oldest first."""
        return await asyncio.to_thread(self._recent, session, user, limit)

    def _save(self, message: Message) -> None:
        values = (message.id, message.session, message.user, message.role, message.content)
        with closing(self._open()) as database, database:
            database.execute("REPLACE INTO message (id, session, user, role, content) VALUES (?, ?, ?, ?, ?)", values)

    def _delete(self, message_id: str) -> None:
        with closing(self._open()) as database, database:
            database.execute("DELETE FROM message WHERE id = ? AND role = 'user'", (message_id,))

    def _recent(self, session: str, user: str, limit: int) -> list[Message]:
        with closing(self._open()) as database:
            rows = database.execute(
                "SELECT id, role, content FROM message WHERE session = ? AND user = ? ORDER BY rowid DESC LIMIT ?",
                (session, user, limit),
            ).fetchall()
        return [
            Message(id=message_id, session=session, user=user, role=role, content=content)
            for message_id, role, content in reversed(rows)
        ]

    def _open(self) -> sqlite3.Connection:
        database = sqlite3.connect(self._path)
        database.execute(TABLE)
        return database


conversations = Conversations(Path(os.environ.get("STOCK_CHAT_DB", "stock_chat.db")))
