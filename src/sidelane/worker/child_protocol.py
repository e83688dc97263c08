"""Protocol between a worker and its child processes, with one JSON object per line. The protocol never uses pickle."""

import asyncio
import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sidelane.model.errors import JobConflict, JobRefused, LimitReached, QueueFull, SidelaneError, StoreUnavailable
from sidelane.model.event import NewEvent
from sidelane.model.history import Usage
from sidelane.model.job import Failure, JobSpec, Submission
from sidelane.model.outcome import Failed, Outcome, Released, Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.model.settings import Settings
from sidelane.processes.logs import LogOptions
from sidelane.stores.serialization import dump_spec, load_spec


def log_options(name: str, settings: Settings) -> LogOptions:
    """Return how a process that this one starts logs: from this process's level on, in the format of the settings."""
    level = logging.getLogger().getEffectiveLevel()
    return LogOptions(name=name, level=level, format=settings.log_format, release=settings.release)


def pack(message: Mapping[str, Any]) -> bytes:
    """Return a message as a line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def unpack(line: bytes) -> dict[str, Any]:
    """Return the message of a line."""
    message: dict[str, Any] = json.loads(line)
    return message


def write_line(writer: asyncio.StreamWriter, line: bytes) -> None:
    """Write a line, unless the peer has exited, which the next read shows. uvloop raises RuntimeError if the socket was reset."""
    with suppress(ConnectionError, RuntimeError):
        writer.write(line)


def pack_event(event: NewEvent) -> bytes:
    return pack({"event": [event.name, event.data]})


def pack_usage(usage: Usage) -> bytes:
    return pack({"usage": [usage.input_tokens, usage.output_tokens, usage.cost]})


def read_usage(message: Mapping[str, Any]) -> Usage:
    """Return what a task used."""
    input_tokens, output_tokens, cost = message["usage"]
    return Usage(input_tokens=input_tokens, output_tokens=output_tokens, cost=cost)


def pack_submit(number: int, spec: JobSpec) -> bytes:
    """Return the line by which a task submits a job. The answer has the same number."""
    return pack({"submit": number, "spec": dump_spec(spec)})


def read_spec(message: Mapping[str, Any]) -> JobSpec:
    """Return the job that a task submits."""
    return load_spec(message["spec"])


def pack_submission(number: int, answer: Submission | SidelaneError) -> bytes:
    """Return the line that answers a submit."""
    if isinstance(answer, Submission):
        return pack({"answer": number, "job": answer.record.id, "created": answer.created})
    return pack({"answer": number, "refused": type(answer).__name__, "problem": answer.problem().document()})


def read_submission(message: Mapping[str, Any]) -> tuple[str, bool]:
    """Return the id of the submitted job, and whether it is new. Raises the error that the submit raised."""
    if "refused" in message:
        raise _error_type(message["refused"])(Problem.of(message["problem"]))
    return message["job"], message["created"]


def pack_outcome(outcome: Outcome, *, throttled: bool) -> bytes:
    """Return the line of an attempt's outcome, with whether a provider asked to try later."""
    return pack({**_dump_outcome(outcome), "throttled": throttled})


def _dump_outcome(outcome: Outcome) -> dict[str, Any]:
    match outcome:
        case Succeeded(result):
            return {"succeeded": result}
        case Retried(failure, delay):
            return {"retried": _dump_failure(failure), "delay": delay}
        case Failed(failure):
            return {"failed": _dump_failure(failure)}
        case Released(delay):
            return {"released": delay}
        case _:
            return {"released": 0.0}


def read_outcome(message: Mapping[str, Any]) -> Outcome:
    """Return an attempt's outcome."""
    if "succeeded" in message:
        return Succeeded(message["succeeded"])
    if "retried" in message:
        return Retried(_load_failure(message["retried"]), message["delay"])
    if "failed" in message:
        return Failed(_load_failure(message["failed"]))
    return Released(message["released"])


def _error_type(name: str) -> type[SidelaneError]:
    types = (JobConflict, LimitReached, QueueFull, JobRefused, StoreUnavailable)
    return next((each for each in types if each.__name__ == name), SidelaneError)


def _dump_failure(failure: Failure) -> dict[str, Any]:
    return {"problem": failure.problem.document(), "error": failure.error, "traceback": failure.traceback}


def _load_failure(message: Mapping[str, Any]) -> Failure:
    return Failure(problem=Problem.of(message["problem"]), error=message["error"], traceback=message["traceback"])
