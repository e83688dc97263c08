"""Parser of server-sent events: all that a client needs to stream a job and resume."""

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from httpx2 import Response


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """One event of a stream. `id` is empty if a stream cannot be resumed after it."""

    id: str
    name: str
    data: Any

    @property
    def job_id(self) -> str:
        """The id of its job."""
        return self.id.partition(":")[0]

    @property
    def number(self) -> int:
        """Its number in the job's log."""
        return int(self.id.rpartition(":")[2])


async def server_events(response: Response) -> AsyncIterator[ServerEvent]:
    """Yield the events of a response as they arrive."""
    fields: dict[str, str] = {}
    async for line in response.aiter_lines():
        if line and not line.startswith(":"):  # a line that starts with a colon is a comment
            name, _, value = line.partition(":")
            fields[name] = value.removeprefix(" ")
        elif not line and "data" in fields:
            yield ServerEvent(fields.get("id", ""), fields.get("event", "message"), json.loads(fields["data"]))
            fields = {}
