"""Stacks of running attempts, and the requests by which operators get them through the store.

A request is a versioned value in one of a few slots, so that nothing but these slots is ever kept. The worker that runs the attempt
replaces the request by the same request with its stack, and the requester deletes the value.
"""

import json
from dataclasses import dataclass, field
from typing import Final

from sidelane.model.ids import new_nonce
from sidelane.model.json_text import dump_json

STACK_SLOTS: Final = tuple(f"stack request {number}" for number in range(1, 5))
"""Names of the values. Each is the slot of one request at a time."""

REQUEST_EXPIRY: Final = 120.0
"""Seconds after which any worker deletes a request that has not changed, because its requester is gone."""

MAX_STACK: Final = 16 * 1024
"""Maximum bytes of a stack's text as UTF-8. With JSON's escapes, it still fits into a value."""


@dataclass(frozen=True, slots=True)
class Stack:
    """What an attempt does: a clause that follows "the job", e.g. "waits on the event loop", and tracebacks as text."""

    activity: str
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StackRequest:
    """A request for the stack of one attempt, and the answer of the worker (its id), once it has answered."""

    job_id: str
    attempt: int
    id: str = field(default_factory=new_nonce)
    worker: str | None = None
    stack: Stack | None = None

    def dump(self) -> str:
        """Return the text of the versioned value."""
        stack = None if self.stack is None else {"activity": self.stack.activity, "text": self.stack.text}
        return dump_json(
            {"id": self.id, "job": self.job_id, "attempt": self.attempt, "worker": self.worker, "stack": stack}
        )

    @classmethod
    def load(cls, text: str) -> "StackRequest":
        """Return the request of a versioned value."""
        found = json.loads(text)
        stack = found["stack"] and Stack(found["stack"]["activity"], found["stack"]["text"])
        return cls(id=found["id"], job_id=found["job"], attempt=found["attempt"], worker=found["worker"], stack=stack)
