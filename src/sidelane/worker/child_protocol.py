"""What a worker and its child processes say to each other: one JSON object a line. Never pickle."""

import json
from collections.abc import Mapping
from typing import Any

from sidelane.model.errors import JobConflict, JobRefused, LimitReached, QueueFull, SidelaneError, StoreUnavailable
from sidelane.model.event import NewEvent
from sidelane.model.job import Failure, JobSpec, Submission
from sidelane.model.outcome import Failed, Outcome, Released, Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.stores.serialization import dump_spec, load_spec

MAX_LINE_SIZE = 64 * 1024 * 1024


def pack(message: Mapping[str, Any]) -> bytes:
    """Make a line of a message."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def unpack(line: bytes) -> dict[str, Any]:
    """Read a line back."""
    message: dict[str, Any] = json.loads(line)
    return message


def pack_entry(entry: NewEvent) -> bytes:
    return pack({"entry": [entry.name, entry.data]})


def pack_submit(number: int, spec: JobSpec) -> bytes:
    """Make a line of a child job that a task wants submitted; the answer has the same number."""
    return pack({"submit": number, "spec": dump_spec(spec)})


def read_spec(message: Mapping[str, Any]) -> JobSpec:
    """Read back what is to be submitted."""
    return load_spec(message["spec"])


def pack_answer(number: int, answer: Submission | SidelaneError) -> bytes:
    """Make a line of what became of a submit."""
    if isinstance(answer, Submission):
        return pack({"answer": number, "job": answer.record.id, "created": answer.created})
    return pack({"answer": number, "refused": type(answer).__name__, "problem": answer.problem().document()})


def read_answer(message: Mapping[str, Any]) -> tuple[str, bool]:
    """Read back the id of the submitted job, and whether it is new. Raises what the submit raised."""
    if "refused" in message:
        raise _refusal(message["refused"])(Problem.of(message["problem"]))
    return message["job"], message["created"]


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


def _refusal(name: str) -> type[SidelaneError]:
    kinds = (JobConflict, LimitReached, QueueFull, JobRefused, StoreUnavailable)
    return next((kind for kind in kinds if kind.__name__ == name), SidelaneError)


def _failure(failure: Failure) -> dict[str, Any]:
    return {"problem": failure.problem.document(), "error": failure.error, "traceback": failure.traceback}


def _read_failure(message: Mapping[str, Any]) -> Failure:
    return Failure(problem=Problem.of(message["problem"]), error=message["error"], traceback=message["traceback"])
