"""Events: the numbered entries of a job's log, and cursors into it."""

import re
from dataclasses import dataclass

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_json

from sidelane.model.codec import check_size
from sidelane.model.ids import is_id

PROGRESS = "progress"
TOKEN = "token"  # noqa: S105 - a token of text, not a secret # nosec B105
ATTEMPT = "attempt"
END = "end"
JOB = "job"
GAP = "gap"
TRUNCATED = "truncated"
LOG = "log"
"""A record that the running task logged. Operators read these; clients never see them."""

RESERVED = frozenset({PROGRESS, TOKEN, ATTEMPT, END, JOB, GAP, TRUNCATED, LOG, "open", "message", "error"})
"""Event names with a published meaning, or one to a browser's EventSource. Tasks cannot emit them."""

NAME = re.compile(r"[a-z][a-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event that a task emitted and the store has not numbered yet. `data` is JSON text."""

    name: str
    data: str


def gap_event(missing: int) -> NewEvent:
    """Return the `gap` event. `missing` is how many events a crash has lost before the next one (rule 17)."""
    return NewEvent(GAP, f'{{"missing":{missing}}}')


TRUNCATED_EVENT = NewEvent(TRUNCATED, "{}")
"""The last event of a full log before its end."""


def token_event(text: str, limit: int) -> NewEvent:
    """Return a token of text. Raises `PayloadTooLarge`."""
    return NewEvent(TOKEN, check_size(to_json({"text": text}).decode(), limit, "A token"))


def progress_event(percent: float, message: str, limit: int) -> NewEvent:
    """Return the progress of a job. Raises `PayloadTooLarge`, or ValueError if the percentage is outside 0 to 100."""
    if not 0 <= percent <= 100:
        raise ValueError(f"progress({percent}): a percentage goes from 0 to 100.")
    return NewEvent(
        PROGRESS, check_size(to_json({"percent": percent, "message": message}).decode(), limit, "A progress message")
    )


def named_event(name: str, data: object, limit: int) -> NewEvent:
    """Return an event that a task has defined.

    Raises ValueError if the name is reserved or malformed, and TypeError if the data cannot be written as JSON.
    """
    if name in RESERVED or not NAME.fullmatch(name):
        raise ValueError(
            f"emit({name!r}): a name is lower case letters, digits or '_.-', and none of {', '.join(sorted(RESERVED))}."
        )
    try:
        text = to_json(data, inf_nan_mode="null").decode()
    except PydanticSerializationError as error:
        raise TypeError(f"emit({name!r}): its data has no JSON form: {error}") from error
    return NewEvent(name, check_size(text, limit, f"Event {name!r}"))


def model_event(model: BaseModel, limit: int) -> NewEvent:
    """Return an event with a pydantic model as its data, named by the class attribute `event`, else by the class in snake case."""
    name = getattr(type(model), "event", None)
    return named_event(name if isinstance(name, str) else _snake(type(model).__name__), model, limit)


@dataclass(frozen=True, slots=True)
class Event:
    """One numbered entry of a job's log. The numbers of a job have no gaps. `at` is seconds since 1970 by the store's clock."""

    number: int
    epoch: int
    at: float
    name: str
    data: str

    @property
    def cursor(self) -> "Cursor":
        """The position just after this event."""
        return Cursor(self.epoch, self.number)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A position in a job's log, just after event `number` of `epoch`. An SSE id has the form `<job>:<epoch>:<number>`.

    `epoch` distinguishes two histories of a log that reuse the same numbers, e.g. after a crash.
    """

    epoch: int
    number: int

    def text(self, job_id: str) -> str:
        return f"{job_id}:{self.epoch:x}:{self.number}"

    @staticmethod
    def parse(text: str) -> "tuple[str, Cursor]":
        """Parse an SSE id. Raises ValueError if the text is not an SSE id."""
        job_id, epoch, number = text.split(":")  # a wrong count is a ValueError too
        if not is_id(job_id) or not re.fullmatch(r"[0-9a-f]{1,8}", epoch) or not re.fullmatch(r"[0-9]{1,15}", number):
            raise ValueError(f"{text!r} is not the id of an event")
        return job_id, Cursor(int(epoch, 16), int(number))


@dataclass(frozen=True, slots=True)
class EventPage:
    """One page of a job's log. `gap` is true if the cursor is no longer in this log, so that `events` starts at its beginning.

    `last` is the number of the newest event. If the last of `events` has a lower number, there are more events. `ended` is true if
    the newest event is the job's end, whether or not `events` contains it.
    """

    events: tuple[Event, ...]
    last: int
    gap: bool = False
    ended: bool = False


def _snake(name: str) -> str:
    return "".join(
        f"_{letter.lower()}" if letter.isupper() and index else letter.lower() for index, letter in enumerate(name)
    )
