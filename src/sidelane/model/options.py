"""What a caller may choose about one submission, apart from the task's arguments."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypedDict

from sidelane.model.errors import ArgumentsError, ConfigurationError
from sidelane.model.ids import is_id
from sidelane.model.job import JobSpec, State

PRIORITIES = range(-1000, 1001)

RESERVED_ID = "current"


@dataclass(frozen=True, slots=True)
class CancelAfter:
    """Cancel the job when its last listener has been gone for `after` seconds."""

    after: float = 30.0

    def __post_init__(self) -> None:
        if not (self.after > 0 and math.isfinite(self.after)):
            raise ConfigurationError(f"Cancel(after={self.after}): this is a number of seconds above 0.")


Disconnect = Literal["continue"] | CancelAfter

MAX_CHAIN_DEPTH = 20
MAX_FOLLOW_UPS = 100
"""How many calls may follow a call one after the other, and in all."""


class ChainedCall(Protocol):
    """A call, as the options of the call that it follows know it. `given`: where arguments come from that it does not know yet."""

    @property
    def options(self) -> "Options": ...
    @property
    def placeholders(self) -> Mapping[str, str]: ...
    def template(self, *, user: str | None = None, trace: str | None = None) -> JobSpec: ...


MAX_CALLBACKS = 20
"""How many callbacks one call may have."""


class Callback(Protocol):
    """Whom to tell of a job, as its options know it: a `Webhook` or a `Notice`. `states`: the ends it is told of."""

    @property
    def states(self) -> frozenset[State]: ...
    @property
    def progress(self) -> bool: ...


Callbacks = Callback | Sequence[Callback]


class OptionFields(TypedDict, total=False):
    """The keyword arguments of `task.options(...)`."""

    id: str
    user: str
    key: str
    unique: str
    priority: int
    delay: float
    run_at: float
    expires: float
    deadline: float
    on_disconnect: Disconnect
    labels: Mapping[str, str]
    then: ChainedCall | Sequence[ChainedCall]
    on_failure: ChainedCall | Sequence[ChainedCall]
    callback: Callbacks


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """The options of one call; None where the task's own policy holds. Durations are seconds from the submit.

    `then` are the calls that follow it when it has succeeded, `on_failure` when it has failed for good. `callback` is told of it
    beside those of its task; `callback=()`: nobody is.

    Raises `ArgumentsError` on a value that cannot be.
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

    @property
    def follows(self) -> bool:
        """Whether anything follows this call."""
        return bool(self.then or self.on_failure)

    @property
    def following(self) -> Iterator[tuple[State, ChainedCall]]:
        """The calls that follow this one, and the state in which it must have ended for it."""
        for state, calls in ((State.SUCCEEDED, self.then), (State.FAILED, self.on_failure)):
            for call in calls if isinstance(calls, Sequence) else (calls,):
                yield state, call

    def callbacks(self, of_task: Sequence[Callback]) -> Sequence[Callback]:
        """Give whom to tell, where these are those of its task."""
        if self.callback is None:
            return of_task
        own = callbacks_of(self.callback)
        return (*of_task, *own) if own else ()

    def _check_texts(self) -> None:
        if self.id == RESERVED_ID:
            raise ArgumentsError(f"id={self.id!r}: GET /jobs/{self.id} means something else.")
        if self.id is not None and not is_id(self.id):
            raise ArgumentsError(f"id={self.id!r}: an id is 1 to 128 letters, digits or any of '._~-'.")
        for name in ("user", "key", "unique"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and 0 < len(value) <= 512):
                raise ArgumentsError(f"{name}={value!r}: this is a text of 1 to 512 characters.")
        if not all(isinstance(text, str) for pair in self.labels.items() for text in pair):
            raise ArgumentsError(f"labels={dict(self.labels)!r}: these are texts by name.")

    def _check_numbers(self) -> None:
        for name in ("priority", "delay", "run_at", "expires", "deadline"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, int | float):
                raise ArgumentsError(f"{name}={value!r}: this is a number.")
        if self.priority is not None and self.priority not in PRIORITIES:
            raise ArgumentsError(f"priority={self.priority}: priorities go from -1000 to 1000, higher first.")
        if self.run_at is not None and not math.isfinite(self.run_at):
            raise ArgumentsError(f"run_at={self.run_at}: this is a time, in seconds since 1970.")
        if self.delay < 0 or not math.isfinite(self.delay):
            raise ArgumentsError(f"delay={self.delay}: a delay is a number of seconds from now, not in the past.")
        for name in ("expires", "deadline"):
            value = getattr(self, name)
            if value is not None and not (value > 0 and math.isfinite(value)):
                raise ArgumentsError(f"{name}={value}: this is a number of seconds above 0.")
        if self.delay and self.run_at is not None:
            raise ArgumentsError("Give either delay or run_at, not both.")

    def _check_chain(self) -> None:
        for state, call in self.following:
            name, unknown = ("then", "failure") if state is State.SUCCEEDED else ("on_failure", "result")
            if not hasattr(call, "template"):
                raise ArgumentsError(f"{name}={call!r}: this takes calls, as `task.call(…)` makes them.")
            if call.options.id is not None:
                raise ArgumentsError(
                    f"{name}={call!r}: a call that follows gets its id from its parent; leave out id=…."
                )
            if unknown in call.placeholders.values():
                raise ArgumentsError(f"{name}={call!r}: there is no PREVIOUS_{unknown.upper()} when a job has {state}.")
        if _depth(self) > MAX_CHAIN_DEPTH:
            raise ArgumentsError(f"More than {MAX_CHAIN_DEPTH} calls would follow one after the other.")
        if _count(self) > MAX_FOLLOW_UPS:
            raise ArgumentsError(f"More than {MAX_FOLLOW_UPS} calls would follow.")


def callbacks_of(given: object) -> tuple[Callback, ...]:
    """Give the callbacks that are one or several. Raises `ArgumentsError` on anything else."""
    several = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else (given,)
    for each in several:
        if not hasattr(each, "states"):
            raise ArgumentsError(f"callback={each!r}: callback is Webhook(…) or MessageCallback(…), or a list of them.")
    if len(several) > MAX_CALLBACKS:
        raise ArgumentsError(f"A call has at most {MAX_CALLBACKS} callbacks.")
    return several


def _depth(options: Options) -> int:
    return max((1 + _depth(call.options) for _, call in options.following), default=0)


def _count(options: Options) -> int:
    return sum(1 + _count(call.options) for _, call in options.following)
