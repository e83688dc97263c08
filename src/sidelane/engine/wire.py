"""What a worker and its child processes say to each other: one JSON object a line. Never pickle."""

import json
from collections.abc import Mapping
from typing import Any

from sidelane.model.event import Entry
from sidelane.model.job import Failure
from sidelane.model.outcome import Failed, Outcome, Released, Retried, Succeeded
from sidelane.model.problem import Problem

LONGEST_LINE = 64 * 1024 * 1024


def pack(message: Mapping[str, Any]) -> bytes:
    """Make a line of a message."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def unpack(line: bytes) -> dict[str, Any]:
    """Read a line back."""
    message: dict[str, Any] = json.loads(line)
    return message


def pack_entry(entry: Entry) -> bytes:
    return pack({"entry": [entry.name, entry.data]})


def pack_outcome(outcome: Outcome) -> bytes:
    """Make a line of how an attempt ended in the child."""
    match outcome:
        case Succeeded(result):
            return pack({"succeeded": result})
        case Retried(failure, delay):
            return pack({"retried": _failure(failure), "delay": delay})
        case Failed(failure):
            return pack({"failed": _failure(failure)})
        case Released(delay):
            return pack({"released": delay})
        case _:
            return pack({"released": 0.0})


def read_outcome(message: Mapping[str, Any]) -> Outcome:
    """Read how an attempt ended in the child."""
    if "succeeded" in message:
        return Succeeded(message["succeeded"])
    if "retried" in message:
        return Retried(_read_failure(message["retried"]), message["delay"])
    if "failed" in message:
        return Failed(_read_failure(message["failed"]))
    return Released(message["released"])


def _failure(failure: Failure) -> dict[str, Any]:
    return {"problem": failure.problem.document(), "error": failure.error, "traceback": failure.traceback}


def _read_failure(message: Mapping[str, Any]) -> Failure:
    return Failure(problem=Problem.of(message["problem"]), error=message["error"], traceback=message["traceback"])
