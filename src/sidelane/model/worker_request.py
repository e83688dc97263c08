"""Requests of operators to one worker: to take no more jobs, or to make place for a new process."""

import json
from dataclasses import dataclass
from enum import StrEnum

from sidelane.model.json_text import dump_json


class WorkerAction(StrEnum):
    """What a worker should do."""

    DRAIN = "drain"  # finish its jobs and take no more, until the request is taken back
    RESTART = "restart"  # finish its jobs and exit, so that a new process takes its place


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRequest:
    """One request: who made it, why, and when (seconds since 1970 by the store's clock)."""

    action: WorkerAction
    by: str = ""
    reason: str = ""
    since: float

    def dump(self) -> str:
        """Return the text of the versioned value."""
        return dump_json({"action": self.action, "by": self.by, "reason": self.reason, "since": self.since})

    @classmethod
    def load(cls, text: str) -> "WorkerRequest | None":
        """Return the request of a versioned value, or None for an action of a newer release, which this one does not know."""
        found = json.loads(text)
        if found["action"] not in list(WorkerAction):
            return None
        action = WorkerAction(found["action"])
        return cls(action=action, by=found["by"], reason=found["reason"], since=found["since"])


@dataclass(frozen=True, slots=True)
class Instructions:
    """What operators want of a worker: the tasks that they have paused, and their request to this worker alone."""

    paused_tasks: frozenset[str] = frozenset()
    request: WorkerRequest | None = None
