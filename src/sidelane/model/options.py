"""Options of one call, apart from the task's arguments."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, TypedDict, Unpack

from sidelane.model.checks import is_duration
from sidelane.model.durations import Duration, Time, to_seconds, to_timestamp
from sidelane.model.errors import ArgumentsError, ConfigurationError
from sidelane.model.ids import is_id
from sidelane.model.job import MAX_TEXT, JobSpec, State, labels_error
from sidelane.model.settings import Settings

PRIORITIES = range(-1000, 1001)

RESERVED_ID = "current"

MAX_QUOTED = 200
"""Characters of a refused value that its error repeats."""


@dataclass(frozen=True, slots=True)
class CancelAfter:
    """Cancel the job when it has had no listener for `after` seconds since its last listener left."""

    after: Duration = 30.0

    def __post_init__(self) -> None:
        seconds = to_seconds(self.after)
        if not (is_duration(seconds) and seconds > 0):
            raise ConfigurationError(f"CancelAfter({self.after}): this is a number of seconds above 0.")


Disconnect = Literal["continue"] | CancelAfter

MAX_CHAIN_DEPTH = 20
MAX_FOLLOW_UPS = 100
"""Maximum number of calls that may follow a call in sequence, and in total."""


class ChainedCall(Protocol):
    """A call that follows another call. `placeholders` are the sources of arguments that are filled in when its job starts."""

    @property
    def options(self) -> "Options": ...
    @property
    def placeholders(self) -> Mapping[str, str]: ...
    def template(self, *, user: str | None = None, trace: str | None = None) -> JobSpec: ...


MAX_CALLBACKS = 20
"""Callbacks that one call may have."""


class Callback(Protocol):
    """A `Webhook` or a `MessageCallback`. `states` are the final states in which it is sent, and `on` is the declared selection."""

    @property
    def on(self) -> str: ...
    @property
    def states(self) -> frozenset[State]: ...
    @property
    def progress(self) -> bool: ...
    @property
    def body(self) -> Callable[..., Any] | None: ...
    def destination(self, settings: Settings) -> tuple[str, object]:
        """Return the name of the callback's receiver, and the callback's target as the delivery job stores it.

        Raises `ArgumentsError` if the settings do not allow callbacks to reach the receiver.
        """
        ...


Callbacks = Callback | Sequence[Callback]


class OptionFields(TypedDict, total=False):
    """The keyword arguments of `task.options(...)`; see `Options`. Durations are seconds or a timedelta."""

    id: str
    user: str
    key: str
    unique: str
    priority: int
    delay: Duration
    run_at: Time
    expires: Duration
    deadline: Duration
    on_disconnect: Disconnect
    labels: Mapping[str, str]
    then: ChainedCall | Sequence[ChainedCall]
    on_failure: ChainedCall | Sequence[ChainedCall]
    callback: Callbacks


DURATIONS = frozenset({"delay", "expires", "deadline"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one call; None means the task's own policy. Durations are seconds from the submit.

    `then` are the calls to submit when the call's job has succeeded, and `on_failure` when it has failed permanently. `callback` is
    added to the callbacks of the call's task, and `callback=()` removes them all.

    Raises `ArgumentsError` if a value is invalid.
    """

    id: str | None = None
    user: str | None = None
    key: str | None = None
    unique: str | None = None
    priority: int | None = None
    delay: float = 0.0
    run_at: float | None = None
    expires: float | None = None
    deadline: float | None = None
    on_disconnect: Disconnect | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    then: ChainedCall | Sequence[ChainedCall] = ()
    on_failure: ChainedCall | Sequence[ChainedCall] = ()
    callback: Callbacks | None = None

    def __post_init__(self) -> None:
        if self.follows:
            self._check_chain()
        if self.callback:
            callbacks_of(self.callback)
        self._check_texts()
        self._check_numbers()

    def updated(self, **options: Unpack[OptionFields]) -> "Options":
        """Return these options with others changed. Raises `ArgumentsError` if one is invalid."""
        changed: dict[str, Any] = {**options}
        for name in DURATIONS & options.keys():
            changed[name] = to_seconds(changed[name])
        if "run_at" in changed:
            try:
                changed["run_at"] = to_timestamp(changed["run_at"])
            except ValueError as error:
                raise ArgumentsError(f"run_at={changed['run_at']!r}: {error}.") from None
        return replace(self, **changed)

    @property
    def follows(self) -> bool:
        """Whether any call follows this one."""
        return bool(self.then or self.on_failure)

    @property
    def following(self) -> Iterator[tuple[State, ChainedCall]]:
        """The calls that follow this call, each with the final state that submits it."""
        for state, calls in ((State.SUCCEEDED, self.then), (State.FAILED, self.on_failure)):
            for call in calls if isinstance(calls, Sequence) else (calls,):
                yield state, call

    def callbacks(self, task_callbacks: Sequence[Callback]) -> Sequence[Callback]:
        """Return the callbacks of the call's job: those of the call, and those of its task."""
        if self.callback is None:
            return task_callbacks
        callbacks = callbacks_of(self.callback)
        return (*task_callbacks, *callbacks) if callbacks else ()

    def _check_texts(self) -> None:
        if self.id == RESERVED_ID:
            raise ArgumentsError(f"id={self.id!r}: this id is reserved, as GET /jobs/{self.id} is a separate route.")
        if self.id is not None and not is_id(self.id):
            raise ArgumentsError(f"id={_short(self.id)}: an id is 1 to 128 letters, digits or any of '._~-'.")
        for name in ("user", "key", "unique"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and 0 < len(value) <= MAX_TEXT):
                raise ArgumentsError(f"{name}={_short(value)}: this is a string of 1 to {MAX_TEXT} characters.")
        if not all(isinstance(text, str) for pair in self.labels.items() for text in pair):
            raise ArgumentsError(f"labels={_short(dict(self.labels))}: these are strings by name.")
        if self.labels:
            error = labels_error(self.labels)
            if error is not None:
                raise ArgumentsError(error)

    def _check_numbers(self) -> None:
        for name in ("priority", "delay", "run_at", "expires", "deadline"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, int | float):
                raise ArgumentsError(f"{name}={value!r}: this is a number.")
        if self.priority is not None and self.priority not in PRIORITIES:
            raise ArgumentsError(f"priority={self.priority}: priorities go from -1000 to 1000, higher first.")
        if self.run_at is not None and not math.isfinite(self.run_at):
            raise ArgumentsError(f"run_at={self.run_at}: this is a time, in seconds since 1970.")
        if not is_duration(self.delay):
            raise ArgumentsError(f"delay={self.delay}: this is a number of seconds from now, not below 0.")
        for name in ("expires", "deadline"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ArgumentsError(f"{name}={value}: this is a number of seconds above 0.")
        if self.delay and self.run_at is not None:
            raise ArgumentsError("Use either delay or run_at, not both.")

    def _check_chain(self) -> None:
        for state, call in self.following:
            name, unknown = ("then", "failure") if state is State.SUCCEEDED else ("on_failure", "result")
            if not hasattr(call, "template"):
                raise ArgumentsError(f"{name}={call!r}: this takes calls, made by `task.call(…)`.")
            if call.options.id is not None:
                raise ArgumentsError(
                    f"{name}={call!r}: the id of a job that follows is made of its parent's; leave out id=…."
                )
            if unknown in call.placeholders.values():
                raise ArgumentsError(f"{name}={call!r}: there is no PREVIOUS_{unknown.upper()} when a job has {state}.")
        if _depth(self) > MAX_CHAIN_DEPTH:
            raise ArgumentsError(f"More than {MAX_CHAIN_DEPTH} calls would follow one after another.")
        if _count(self) > MAX_FOLLOW_UPS:
            raise ArgumentsError(f"More than {MAX_FOLLOW_UPS} calls would follow.")


def callbacks_of(value: object) -> tuple[Callback, ...]:
    """Return one or several callbacks as a tuple. Raises `ArgumentsError` if the value is anything else."""
    callbacks = tuple(value) if isinstance(value, Sequence) and not isinstance(value, str) else (value,)
    for each in callbacks:
        if not hasattr(each, "destination"):
            raise ArgumentsError(f"callback={each!r}: it must be Webhook(…) or MessageCallback(…), or a list of them.")
    if len(callbacks) > MAX_CALLBACKS:
        raise ArgumentsError(f"A call has at most {MAX_CALLBACKS} callbacks.")
    return callbacks


def _short(value: object) -> str:
    """Return a refused value for an error, which a client may get back."""
    text = repr(value)
    return text if len(text) <= MAX_QUOTED else f"{text[:MAX_QUOTED]}…"


def _depth(options: Options) -> int:
    return max((1 + _depth(call.options) for _, call in options.following), default=0)


def _count(options: Options) -> int:
    return sum(1 + _count(call.options) for _, call in options.following)
