"""What goes to outside workers and comes back from them: offers and replies, and their form as CloudEvents.

Whoever wants a form of their own writes `encode` and `decode` instead; docs/remote.md shows both.
"""

import time
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import to_json

from sidelane.model.codec import format_validation_error, is_storable, parse_json
from sidelane.model.errors import MalformedMessage
from sidelane.model.ids import is_id
from sidelane.model.message import Message
from sidelane.model.problem import Problem
from sidelane.transports import cloudevents
from sidelane.transports.cloudevents import CloudEvent

DISPATCHED = "sidelane.job.offered"
EVENTS = "sidelane.job.events"
COMPLETED = "sidelane.job.completed"

SOURCE = "sidelane"
"""The `source` of events where a lane has no address of its own."""

MAX_EVENTS = 200
"""How many events one reply may bring."""

MAX_ERROR_LENGTH = 1000
"""Characters of what it says to operators."""

MAX_ORDINAL = 2**53 - 1
MAX_KEY_LENGTH = 512

M = TypeVar("M", bound=BaseModel)


class Missing:
    """The type of `ABSENT`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final[Any] = Missing()
"""Stands for a result that a reply does not have; None is one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DispatchedJob:
    """One hand-over, as the outside is told of it. `input` is what `json.loads` gives.

    `timeout` is how many seconds were left when it was sent; `token` is the right to end it, and `complete_url` and `events_url`
    say where, if by HTTP. `key` is the caller's own name for the job, if the call had one.
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
        """What names this hand-over: the same when it is sent again."""
        return f"{self.job}.{self.attempt}"


@dataclass(frozen=True, slots=True)
class EmittedEvent:
    """An event of a job that runs outside: `progress`, `token`, or a name of the task's own. `data` is what JSON can hold."""

    name: str
    data: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionMessage:
    """What the outside says of one job: its result, its problem, or only events.

    It names the job by `job`, its id, or by the `key` that its call had, if one alone of that key is outside. Without a
    `token` it speaks for whatever hand-over of the job is outside when it arrives. `retry=False`: the problem is final; `error`
    says more of it, to operators alone.

    `ordinal` numbers the first of `events` among all of this hand-over, from 1, so that none counts twice; in a reply without
    events it is the number that the next would have. None: they are taken as they come. Raises `MalformedMessage`.
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

    def __post_init__(self) -> None:
        for wrong in _wrong(self):
            raise MalformedMessage(wrong)

    @property
    def ends(self) -> bool:
        """Whether it ends the hand-over."""
        return self.result is not MISSING or self.problem is not None


Json = Any
"""What `parse_json` gives, which needs no second look: pydantic's own JsonValue would walk through all of it."""


class _Form(BaseModel):
    model_config = ConfigDict(defer_build=True)  # built when first used, not at import


class EventForm(_Form):
    """One event of a job."""

    name: str = Field(max_length=64, description="progress, token, or a name of the task's own.")
    data: Json = Field(
        None, description='`{"percent": 30, "message": "…"}` of progress, `{"text": "…"}` of a token, else anything.'
    )


class EventsForm(_Form):
    """Events of a job that runs outside."""

    events: list[EventForm] = Field(min_length=1, max_length=MAX_EVENTS)
    ordinal: int | None = Field(
        None,
        ge=1,
        le=MAX_ORDINAL,
        description="The number of the first among all of this hand-over, from 1: none counts twice.",
    )


class CompletionForm(_Form):
    """How a job has ended outside: `result` or `problem`, one of them."""

    result: Json = Field(None, description="What the task gives, as JSON.")
    problem: dict[str, Json] | None = Field(None, description="A problem document (RFC 9457).")
    error: str | None = Field(
        None, max_length=MAX_ERROR_LENGTH, description="More of the problem, for operators alone."
    )
    retry: bool = Field(True, description="Whether another try may help.")
    events: list[EventForm] = Field([], max_length=MAX_EVENTS, description="The last events before the end.")
    ordinal: int | None = Field(
        None,
        ge=1,
        le=MAX_ORDINAL,
        description="The number of the first of these events; without any, that of the next there would be.",
    )


class _Asked(_Form):
    job: str
    task: str
    attempt: int = Field(ge=1)
    timeout: float = Field(gt=0, allow_inf_nan=False)
    token: str
    version: int = 1
    key: str | None = None
    complete_url: str | None = None
    events_url: str | None = None


class _Offered(_Asked):
    input: Json


class _Claim(_Form):
    job: str
    token: str


class _Events(EventsForm):
    job: str
    token: str


class _Completed(CompletionForm):
    job: str
    token: str


def _wrong(reply: CompletionMessage) -> Iterator[str]:
    """Say what is wrong with a reply: an application's own `decode` may put anything into it."""
    job, key, token, problem, error, ordinal = map(
        _any, (reply.job, reply.key, reply.token, reply.problem, reply.error, reply.ordinal)
    )
    if (job is None) == (key is None):
        yield "A reply names its job by `job` or by `key`: give one of them."
    if job is not None and not (isinstance(job, str) and is_id(job)):
        yield "The `job` of a reply is no id of a job."
    if key is not None and not (isinstance(key, str) and 0 < len(key) <= MAX_KEY_LENGTH and is_storable(key)):
        yield f"The `key` of a reply is a text of 1 to {MAX_KEY_LENGTH} characters."
    if token is not None and not isinstance(token, str):
        yield "The `token` of a reply is a text."
    if problem is not None and not isinstance(problem, Problem | Mapping):
        yield "The `problem` of a reply is a problem document."
    if error is not None and not isinstance(error, str):
        yield "The `error` of a reply is a text."
    if not (reply.ends or reply.events):
        yield "A reply has a result, a problem or events."
    if not all(isinstance(event, EmittedEvent) for event in _any(reply.events)):
        yield "The `events` of a reply are Emitted(…)."
    if len(reply.events) > MAX_EVENTS:
        yield f"A reply brings at most {MAX_EVENTS} events."
    if ordinal is not None and not (isinstance(ordinal, int) and 1 <= ordinal <= MAX_ORDINAL):
        yield "The events of a hand-over are numbered from 1."


def _any(value: object) -> Any:
    return value


def dispatched_message(offer: DispatchedJob, source: str = SOURCE) -> Message:
    """Write an offer as a message. The messages of one job form a group."""
    names = ("job", "task", "version", "attempt", "key", "input", "timeout", "token", "complete_url", "events_url")
    members = {name: getattr(offer, name) for name in names}
    data = {name: value for name, value in members.items() if value is not None or name == "input"}
    return _message(DISPATCHED, offer.id, offer.job, data, source=source, traceparent=offer.traceparent)


def read_asked(message: Message) -> DispatchedJob:
    """Read an offer without its input, which is None then. Raises `MalformedMessage`.

    Whoever looks first whether it knows the task spends little on what it does not.
    """
    event = _check_offer(message)
    return _offer(cloudevents.read_parts(message.body, _Asked), event, None)


def read_dispatched(message: Message) -> DispatchedJob:
    """Read an offer. Raises `MalformedMessage`."""
    event = _check_offer(message)
    form = _validated(_Offered, cloudevents.read_data(message.body))
    return _offer(form, event, form.input)


def _offer(form: _Asked, event: CloudEvent, given: Json) -> DispatchedJob:
    if not is_id(form.job):
        raise MalformedMessage("The message does not fit: job: is no id of a job.")
    return DispatchedJob(
        **{name: getattr(form, name) for name in _Asked.model_fields}, input=given, traceparent=event.traceparent
    )


def _check_offer(message: Message) -> CloudEvent:
    event = cloudevents.read_envelope(message.body)
    if event.type != DISPATCHED:
        raise MalformedMessage("The message is no offer of a job.")
    return event


def reply_message(
    reply: CompletionMessage,
    *,
    id: str,  # noqa: A002 - as in CloudEvents
    source: str = SOURCE,
    traceparent: str | None = None,
) -> Message:
    """Write a reply that names its job and carries a token as a message. The messages of one job form a group."""
    if reply.job is None or reply.token is None:
        raise ValueError("A reply in our own form names its job and carries a token.")
    data: dict[str, Any] = {"job": reply.job, "token": reply.token}
    if reply.problem is not None:
        document = reply.problem.document() if isinstance(reply.problem, Problem) else dict(reply.problem)
        data |= {"problem": document, "retry": reply.retry, **({"error": reply.error} if reply.error else {})}
    elif reply.ends:
        data["result"] = reply.result
    if reply.ordinal is not None:
        data["ordinal"] = reply.ordinal
    if reply.events:
        data["events"] = [{"name": event.name, "data": event.data} for event in reply.events]
    kind = COMPLETED if reply.ends else EVENTS
    return _message(kind, id, reply.job, data, source=source, traceparent=traceparent)


def read_claim(message: Message) -> tuple[str, str]:
    """Read of a reply only the job that it speaks for and the token that allows it. Raises `MalformedMessage`.

    Whoever checks the token first spends little on a message that has no right to speak.
    """
    _kind_of_reply(message)
    claim = cloudevents.read_parts(message.body, _Claim)
    if not is_id(claim.job):
        raise MalformedMessage("The `job` of a reply is no id of a job.")
    return claim.job, claim.token


def read_reply(message: Message) -> CompletionMessage:
    """Read a reply. Raises `MalformedMessage`."""
    kind = _kind_of_reply(message)
    data = cloudevents.read_data(message.body)
    if kind == COMPLETED:
        completed = _validated(_Completed, data)
        return completion_message(completed, job=completed.job, token=completed.token)
    told = _validated(_Events, data)
    return events_message(told, job=told.job, token=told.token)


def _kind_of_reply(message: Message) -> str:
    """Say which kind of reply it is. Raises `MalformedMessage` where it is none."""
    kind = cloudevents.read_envelope(message.body).type
    if kind not in (COMPLETED, EVENTS):
        raise MalformedMessage("The message is no reply: its type is neither that of a completion nor that of events.")
    return kind


def with_dataref(message: Message, link: str) -> Message:
    """Give a message of ours with a link in place of its data: the CloudEvents extension `dataref`."""
    event = cloudevents.read(message.body)
    return replace(message, body=cloudevents.write(replace(event, data=None, dataref=link, datacontenttype=None)))


def data_of(message: Message) -> str:
    """Give the data of a message of ours, as JSON text."""
    return cloudevents.read(message.body).data or "null"


async def fetch_data(message: Message, read: Callable[[str], Awaitable[str]]) -> Message:
    """Give a message with the data that it only points to, if it does. Raises `MalformedMessage`, and what `read` raises."""
    if cloudevents.read_envelope(message.body).dataref is None:
        return message  # as most are; only of these few all is read
    event = cloudevents.read(message.body)
    if event.data is not None or event.dataref is None:
        return message
    data = await read(event.dataref)
    return replace(message, body=cloudevents.write(replace(event, data=data, dataref=None)))


def completion_message(form: CompletionForm, *, job: str, token: str) -> CompletionMessage:
    """Make the reply that a form says. Raises `MalformedMessage` where it has no end, or two."""
    has_result = "result" in form.model_fields_set
    if has_result == (form.problem is not None):
        raise MalformedMessage("An end is either a result or a problem: give one of them.")
    return CompletionMessage(
        job=job, token=token, result=form.result if has_result else MISSING, problem=form.problem, retry=form.retry,
        error=form.error,
        events=_emitted(form.events), ordinal=form.ordinal,
    )  # fmt: skip


def events_message(form: EventsForm, *, job: str, token: str) -> CompletionMessage:
    """Make the reply that a form says. Raises `MalformedMessage`."""
    return CompletionMessage(job=job, token=token, events=_emitted(form.events), ordinal=form.ordinal)


def read_form(form: type[M], text: str | bytes) -> M:
    """Read a form from JSON. Raises `MalformedMessage`, which repeats nothing of it."""
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
