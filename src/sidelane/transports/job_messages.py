"""Messages to and from external workers: dispatched jobs, events and completions, written as CloudEvents.

Applications with another format write `encode` and `decode` functions instead; docs/external-tasks.md shows both.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from sidelane.model.codec import format_validation_error, parse_json
from sidelane.model.errors import MalformedMessage
from sidelane.model.history import MAX_USAGE, NO_USAGE, Usage
from sidelane.model.ids import is_id
from sidelane.model.json_text import is_storable
from sidelane.model.message import Message
from sidelane.model.problem import Problem
from sidelane.transports import cloudevents
from sidelane.transports.cloudevents import CloudEvent

DISPATCHED = "sidelane.job.dispatched"
EVENTS = "sidelane.job.events"
COMPLETED = "sidelane.job.completed"

SOURCE = "sidelane"
"""The `source` of CloudEvents of a lane without a URL."""

MAX_EVENTS = 200
"""Maximum number of events in one message."""

MAX_ERROR_LENGTH = 1000
"""Maximum characters of the error text for operators."""

MAX_ORDINAL = 2**53 - 1
MAX_KEY_LENGTH = 512

_A_COMPLETION = "a completion: its type is neither that of a completion nor that of events"

M = TypeVar("M", bound=BaseModel)


class Missing:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final[Any] = Missing()
"""Marks a completion without a result, because None is a result."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchedJob:
    """One attempt of a job as its external worker receives it. `input` is a value as `json.loads` returns it.

    `timeout` is the number of seconds that were left when the job was sent. `token` allows its holder to complete the attempt, over
    HTTP at `complete_url` and `events_url`. `key` is the key of the call, if the call had one.
    """

    job: str
    task: str
    attempt: int
    input: Any
    timeout: float
    token: str
    version: int = 1
    key: str | None = None
    complete_url: str | None = None
    events_url: str | None = None
    traceparent: str | None = None

    @property
    def id(self) -> str:
        """Id of this dispatch, which is the same when the dispatch is sent again."""
        return f"{self.job}.{self.attempt}"


@dataclass(frozen=True, slots=True)
class EmittedEvent:
    """An event of an external job: `progress`, `token`, or a name of the task's own. `data` is any JSON value."""

    name: str
    data: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionMessage:
    """The report of an external worker about one job: a result, a problem, or only events.

    A completion names the job by its id, `job`, or by the `key` of its call if only one external job has this key. Without a
    `token`, the completion applies to the attempt that is running when it arrives. With `retry=False`, the problem is final.
    `error` has details of the problem that only operators see.

    `ordinal` is the number of the first of `events` in this attempt, from 1, so that repeated events are skipped. Without events,
    it is the number of the next event. If it is None, events are appended in the order of arrival.

    `usage` is what the attempt used. `throttled` is whether a provider asked it to try later. Raises `MalformedMessage`.
    """

    job: str | None = None
    key: str | None = None
    token: str | None = None
    result: Any = MISSING
    problem: Problem | Mapping[str, Any] | None = None
    error: str | None = None
    retry: bool = True
    events: Sequence[EmittedEvent] = ()
    ordinal: int | None = None
    usage: Usage = NO_USAGE
    throttled: bool = False

    def __post_init__(self) -> None:
        for error in _errors(self):
            raise MalformedMessage(error)

    @property
    def ends(self) -> bool:
        """Whether the completion ends the attempt."""
        return self.result is not MISSING or self.problem is not None


Json = Any
"""A value that `parse_json` returned.

Such a value is not validated again, because pydantic's own JsonValue would visit every member.
"""


class _Form(BaseModel):
    model_config = ConfigDict(defer_build=True)  # built when first used, not at import


class EventForm(_Form):
    """One event of a job."""

    name: str = Field(max_length=64, description="progress, token, or a name of the task's own.")
    data: Json = Field(
        None, description='`{"percent": 30, "message": "…"}` of progress, `{"text": "…"}` of a token, else anything.'
    )


class EventsForm(_Form):
    """Events of an external job."""

    events: list[EventForm] = Field(min_length=1, max_length=MAX_EVENTS)
    ordinal: int | None = Field(
        None,
        ge=1,
        le=MAX_ORDINAL,
        description="Number of the first event in this attempt, from 1: repeated events are skipped.",
    )


class CompletionForm(_Form):
    """How an external job ended: either `result` or `problem`."""

    result: Json = Field(None, description="The task's result, as JSON.")
    problem: dict[str, Json] | None = Field(None, description="A problem document (RFC 9457).")
    error: str | None = Field(
        None, max_length=MAX_ERROR_LENGTH, description="More about the problem, for operators only."
    )
    retry: bool = Field(True, description="Whether another attempt may help.")
    events: list[EventForm] = Field([], max_length=MAX_EVENTS, description="The last events before the end.")
    ordinal: int | None = Field(
        None,
        ge=1,
        le=MAX_ORDINAL,
        description="Number of the first of these events; without events, that of the next one.",
    )
    input_tokens: int = Field(0, ge=0, le=MAX_USAGE, description="Tokens that the attempt sent to a language model.")
    output_tokens: int = Field(0, ge=0, le=MAX_USAGE, description="Tokens that a language model returned.")
    cost: float = Field(0.0, ge=0, le=MAX_USAGE, description="What the attempt cost, in any currency.")
    throttled: bool = Field(False, description="Whether a provider asked to try later, e.g. by the status 429.")


class _DispatchHeader(_Form):
    job: str
    task: str
    attempt: int = Field(ge=1)
    timeout: float = Field(gt=0, allow_inf_nan=False)
    token: str
    version: int = 1
    key: str | None = None
    complete_url: str | None = None
    events_url: str | None = None


class _Claim(_Form):
    job: str
    token: str


class _Events(EventsForm):
    job: str
    token: str


class _Completed(CompletionForm):
    job: str
    token: str


def _errors(completion: CompletionMessage) -> Iterator[str]:
    """Yield the errors of a completion, because an application's own `decode` may create invalid ones."""
    job, key, token, problem, error, ordinal = map(
        _any,
        (completion.job, completion.key, completion.token, completion.problem, completion.error, completion.ordinal),
    )
    if (job is None) == (key is None):
        yield "A completion names its job either by `job` or by `key`."
    if job is not None and not (isinstance(job, str) and is_id(job)):
        yield "The `job` of a completion is not the id of a job."
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= MAX_KEY_LENGTH and is_storable(key)):
        yield f"The `key` of a completion is a text of 1 to {MAX_KEY_LENGTH} characters."
    if token is not None and not isinstance(token, str):
        yield "The `token` of a completion is a text."
    if problem is not None and not isinstance(problem, Problem | Mapping):
        yield "The `problem` of a completion is a problem document."
    if error is not None and not isinstance(error, str):
        yield "The `error` of a completion is a text."
    if not (completion.ends or completion.events):
        yield "A completion has a result, a problem or events."
    if not all(isinstance(event, EmittedEvent) for event in _any(completion.events)):
        yield "The `events` of a completion are EmittedEvent(…)."
    if len(completion.events) > MAX_EVENTS:
        yield f"A completion has at most {MAX_EVENTS} events."
    if not isinstance(_any(completion.usage), Usage):
        yield "The `usage` of a completion is Usage(…)."
    if ordinal is not None and not (isinstance(ordinal, int) and 1 <= ordinal <= MAX_ORDINAL):
        yield "The events of an attempt are numbered from 1."


def _any(value: object) -> Any:
    return value


def write_dispatched(dispatched: DispatchedJob, source: str = SOURCE) -> Message:
    """Return the message of a dispatched job. The messages of one job form a group."""
    names = ("job", "task", "version", "attempt", "key", "input", "timeout", "token", "complete_url", "events_url")
    members = {name: getattr(dispatched, name) for name in names}
    data = {name: value for name, value in members.items() if value is not None or name == "input"}
    return _message(DISPATCHED, dispatched.id, dispatched.job, data, source=source, traceparent=dispatched.traceparent)


def read_dispatched_header(message: Message) -> DispatchedJob:
    """Read a dispatched job without its input, which is then None. Raises `MalformedMessage`.

    This is fast, so that a worker can check first whether it knows the task.
    """
    event, form = cloudevents.read_parts(message.body, _DispatchHeader, types=(DISPATCHED,), what="a dispatched job")
    return _dispatched_job(form, event, None)


def read_input(message: Message) -> Json:
    """Read only the input of a dispatched job. Raises `MalformedMessage`."""
    data = cloudevents.read_data(message.body)
    if not isinstance(data, dict) or "input" not in data:
        raise MalformedMessage("The message does not fit: input: is missing.")
    found: Json = data["input"]
    return found


def _dispatched_job(form: _DispatchHeader, event: CloudEvent, input_: Json) -> DispatchedJob:
    if not is_id(form.job):
        raise MalformedMessage("The message does not fit: job: is not the id of a job.")
    return DispatchedJob(
        **{name: getattr(form, name) for name in _DispatchHeader.model_fields},
        input=input_,
        traceparent=event.traceparent,
    )


def write_completion(
    completion: CompletionMessage,
    *,
    id: str,  # noqa: A002 - as in CloudEvents
    source: str = SOURCE,
    traceparent: str | None = None,
) -> Message:
    """Return the message of a completion that has a job and a token. The messages of one job form a group."""
    if completion.job is None or completion.token is None:
        raise ValueError("A completion in our own format has a job and a token.")
    data: dict[str, Any] = {"job": completion.job, "token": completion.token}
    if completion.problem is not None:
        document = (
            completion.problem.document() if isinstance(completion.problem, Problem) else dict(completion.problem)
        )
        data |= {
            "problem": document,
            "retry": completion.retry,
            **({"error": completion.error} if completion.error else {}),
        }
    elif completion.ends:
        data["result"] = completion.result
    if completion.ordinal is not None:
        data["ordinal"] = completion.ordinal
    if completion.usage != NO_USAGE:
        data |= asdict(completion.usage)
    if completion.throttled:
        data["throttled"] = True
    if completion.events:
        data["events"] = [{"name": event.name, "data": event.data} for event in completion.events]
    kind = COMPLETED if completion.ends else EVENTS
    return _message(kind, id, completion.job, data, source=source, traceparent=traceparent)


def read_claim(message: Message) -> tuple[str, str]:
    """Read only the job and the token of a completion. Raises `MalformedMessage`.

    This is fast, so that a forged message takes little time.
    """
    _, claim = cloudevents.read_parts(message.body, _Claim, types=(COMPLETED, EVENTS), what=_A_COMPLETION)
    if not is_id(claim.job):
        raise MalformedMessage("The `job` of a completion is not the id of a job.")
    return claim.job, claim.token


def read_completion(message: Message) -> CompletionMessage:
    """Read a completion. Raises `MalformedMessage`."""
    kind = cloudevents.read_envelope(message.body).type
    if kind not in (COMPLETED, EVENTS):
        raise MalformedMessage(f"The message is not {_A_COMPLETION}.")
    data = cloudevents.read_data(message.body)
    if kind == COMPLETED:
        completed = _validated(_Completed, data)
        return completion_from_form(completed, job=completed.job, token=completed.token)
    events = _validated(_Events, data)
    return events_from_form(events, job=events.job, token=events.token)


def completion_from_form(form: CompletionForm, *, job: str, token: str) -> CompletionMessage:
    """Return the completion of a form. Raises `MalformedMessage` unless it has either a result or a problem."""
    has_result = "result" in form.model_fields_set
    if has_result == (form.problem is not None):
        raise MalformedMessage("A completion has either a result or a problem.")
    return CompletionMessage(
        job=job, token=token, result=form.result if has_result else MISSING, problem=form.problem, retry=form.retry,
        error=form.error, throttled=form.throttled,
        usage=Usage(input_tokens=form.input_tokens, output_tokens=form.output_tokens, cost=form.cost),
        events=_emitted(form.events), ordinal=form.ordinal,
    )  # fmt: skip


def events_from_form(form: EventsForm, *, job: str, token: str) -> CompletionMessage:
    """Return the events of a form. Raises `MalformedMessage`."""
    return CompletionMessage(job=job, token=token, events=_emitted(form.events), ordinal=form.ordinal)


def read_form(form: type[M], text: str | bytes) -> M:
    """Read a form from JSON. Raises `MalformedMessage`, which does not quote the form."""
    try:
        found = parse_json(text)
    except ValueError as error:
        raise MalformedMessage(f"The message is not JSON: {error}.") from None
    return _validated(form, found)


def _validated(form: type[M], found: object) -> M:
    try:
        return form.model_validate(found)
    except ValidationError as error:
        raise MalformedMessage(f"The message does not fit: {format_validation_error(error)}.") from None


def _emitted(forms: Sequence[EventForm]) -> tuple[EmittedEvent, ...]:
    return tuple(EmittedEvent(form.name, form.data) for form in forms)


def _message(
    kind: str,
    event_id: str,
    job: str,
    data: Mapping[str, Any],
    *,
    source: str,
    traceparent: str | None,
) -> Message:
    event = CloudEvent(
        id=event_id,
        source=source,
        type=kind,
        subject=job,
        time=time.time(),
        data=to_json(data).decode(),
        traceparent=traceparent,
    )
    return cloudevents.message(event, group=job)
