"""Task and Call: a registered function with its policy, and a task with its arguments and options."""

import json
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any, Generic, Literal, ParamSpec, Protocol, TypeVar, Unpack

from sidelane.files.file import ID_PREFIX
from sidelane.files.files import Files
from sidelane.model.codec import check_size
from sidelane.model.durations import to_seconds
from sidelane.model.errors import ArgumentsError, ArgumentsMismatch, ConfigurationError
from sidelane.model.ids import new_id
from sidelane.model.job import MAX_LOG_SIZE, REMOVED, FollowUp, JobRecord, JobSpec, Lease, State, may_exceed, texts_of
from sidelane.model.json_text import dump_json
from sidelane.model.limit import Limit
from sidelane.model.options import Callback, Disconnect, OptionFields, Options
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.retry import Retry
from sidelane.model.settings import Settings
from sidelane.tasks import finished_arguments
from sidelane.tasks.finished_arguments import with_type
from sidelane.tasks.job import Job
from sidelane.tasks.limit_binding import LimitKeys, NamedLimit, as_waiting
from sidelane.tasks.placeholders import RESULT_OF_PARENT
from sidelane.tasks.resources import uses_exclusive
from sidelane.tasks.signature import Signature
from sidelane.tasks.task_options import Upgrade, check_call_options

P = ParamSpec("P")
O_co = TypeVar("O_co", covariant=True)  # what the function itself returns
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)  # so that calls with results of several types fit into one batch

Mode = Literal["loop", "thread", "process", "remote"]

DispatchFactory = Callable[[JobRecord, Lease, float, str | None], JobSpec]
"""Returns the job that dispatches another job to an external worker: `dispatch_factory(record, lease, seconds, arguments)`.

`arguments` is None if the record contains the arguments.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """The policy of a task's jobs, which a call's options may override. Durations are seconds."""

    queue: str
    timeout: float | None
    retry: Retry
    retention: float
    cancel_grace: float
    expires: float | None = None
    deadline: float | None = None
    max_worker_losses: int = 3
    max_log_size: int = MAX_LOG_SIZE
    keep_logs: bool = False
    priority: int = 0
    limits: tuple[NamedLimit, ...] = ()  # with those of its queue
    max_queued: int | None = None
    on_disconnect: Disconnect = "continue"
    callbacks: tuple[Callback, ...] = ()


class Lane(Protocol):
    """The lane that a task is registered with. This class is a protocol because `Sidelane` is in a higher layer."""

    @property
    def registry(self) -> Any: ...  # a Registry, which imports this module
    @property
    def settings(self) -> Settings: ...
    @property
    def files(self) -> Files: ...

    def load(self) -> None: ...
    def open(self) -> AbstractAsyncContextManager[Any]: ...
    def worker(self, *, name: str, queues: Mapping[str, int | None], isolated: bool) -> Any: ...  # a Worker
    async def submit(self, call: "Call[R]") -> Job[R]: ...
    def job(self, task: "Task[..., Any, R]", job_id: str) -> Job[R]: ...


class Task(Generic[P, O_co, R_co]):
    """A registered function. Calling it calls the function; `submit` makes a job of it.

    await answer(question, llm=fake)                 # the plain function, in a test
    job = await answer.submit(question)              # a durable job
    await lane.submit(answer.options(user="u7", priority=10).call(question))
    """

    dispatch_factory: DispatchFactory | None = None  # of an external task

    def __init__(
        self,
        function: Callable[P, O_co],
        *,
        lane: Lane,
        name: str,
        policy: Policy,
        process: bool = False,
        version: int = 1,
        upgrade: Upgrade | None = None,
        aliases: tuple[str, ...] = (),
        options: Options | None = None,
    ) -> None:
        self.function = function
        self.name = name
        self.policy = policy
        self.version = version
        self.upgrade = upgrade
        self.aliases = aliases
        self.signature = Signature(function)
        self.mode: Mode = "process" if process else "loop" if self.signature.is_async else "thread"
        self.lane = lane
        self._options = options or Options()
        self._isolable = cache(self._is_isolable)  # not during the import of its module; shared with its copies
        self.__doc__ = function.__doc__
        self.__name__ = getattr(function, "__name__", name)
        self.__module__ = function.__module__
        self.__wrapped__ = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> O_co:
        """Call the function itself, without a job."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<task {self.name}>"

    def options(self, **options: Unpack[OptionFields]) -> "Task[P, O_co, R_co]":
        """Return this task with options for its calls. Raises `ArgumentsError` if an option is unknown or invalid."""
        check_call_options(self.name, options)
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__)
        copy._options = self._options.updated(**options)
        return copy

    def call(self, *args: P.args, **kwargs: P.kwargs) -> "Call[R_co]":
        """Return a call: a value to submit, schedule or test. Raises `ArgumentsError` if the arguments do not fit."""
        arguments, placeholders = self.signature.encode(args, kwargs)
        return Call(self, arguments, self._options, placeholders)

    async def submit(self, *args: P.args, **kwargs: P.kwargs) -> Job[R_co]:
        """Submit a call with these arguments. Raises the errors of `Sidelane.submit`."""
        return await self.lane.submit(self.call(*args, **kwargs))

    @property
    def isolable(self) -> bool:
        """Whether an isolation worker may run jobs of this task, i.e. another process can import the task and open its resources
        (rule 7).
        """
        return self._isolable()

    def _is_isolable(self) -> bool:
        return (
            self.mode != "remote"
            and not self.name.startswith(INTERNAL_PREFIX)
            and not uses_exclusive(self.signature.uses)
            and self._is_importable()
        )

    def _is_importable(self) -> bool:
        module = sys.modules.get(self.function.__module__)
        if module is None or module.__name__ == "__main__":
            return False
        return self._is_same_as(getattr(module, self.__name__, None)) or any(
            map(self._is_same_as, vars(module).values())
        )

    def _is_same_as(self, other: object) -> bool:
        return isinstance(other, Task) and other.name == self.name and other.lane is self.lane

    def job(self, job_id: str) -> Job[R_co]:
        """Return the typed handle on a job of this task."""
        return self.lane.job(self, job_id)

    def decode_arguments(self, text: str, version: int) -> dict[str, Any]:
        """Decode a job's arguments, upgraded if an older version of the task stored them.

        Raises `ArgumentsMismatch`.
        """
        if version < self.version and self.upgrade is not None:
            text = _upgraded(self.upgrade, text, version, self.name)
        context = {**self.lane.files.context, finished_arguments.CONTEXT: self.lane.registry.with_types}
        return self.signature.decode(text, context)

    def with_types(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """Return stored arguments with their types; see `FinishedJob`. Arguments that do not, or no longer, fit are unchanged."""
        try:
            values = self.signature.decode_known(arguments, self.lane.files.context)
        except Exception:  # noqa: BLE001 - the job may have failed by them, and validators raise errors of any type
            return arguments
        return {name: with_type(stored, values[name]) for name, stored in arguments.items()}

    def decode_result(self, text: str) -> R_co:
        """Decode a result. Raises TypeError if the task has changed and the result no longer fits its type."""
        result: R_co = self.signature.result.decode(text, self.lane.files.context)
        return result


def _upgraded(upgrade: Upgrade, text: str, version: int, name: str) -> str:
    try:
        return dump_json(upgrade(json.loads(text), version))
    except Exception as error:
        raise ArgumentsMismatch(f"{name}: its arguments of version {version} could not be upgraded.") from error


@dataclass(frozen=True, slots=True)
class Call(Generic[R_co]):
    """A task with its arguments (as JSON text) and options: a value, not yet submitted.

    `placeholders` are the sources of arguments that are filled in when the call's job starts. Raises `ArgumentsError` if a chain
    repeats this call.
    """

    task: Task[..., Any, R_co]
    arguments: str
    options: Options = field(default_factory=Options)
    placeholders: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (
            self.options.follows
            and not self.placeholders
            and any(self._is_same_as(call) for call in _all_following(self))
        ):
            raise ArgumentsError(f"{self.task.name}: this call follows itself, with the same arguments.")

    def with_options(self, **options: Unpack[OptionFields]) -> "Call[R_co]":
        """Return this call with other options. Raises `ArgumentsError` if an option is unknown or invalid."""
        check_call_options(self.task.name, options)
        return replace(self, options=self.options.updated(**options))

    def spec(
        self, *, parent: str | None = None, trace: str | None = None, batch: str | None = None, cascade: bool = False
    ) -> JobSpec:
        """Return everything that the store must know about this call. Raises `ArgumentsError` or `PayloadTooLarge`."""
        if self.placeholders:
            name, source = next(iter(self.placeholders.items()))
            raise ArgumentsError(
                f"{self.task.name}: {name}=PREVIOUS_{source.upper()} is known only when another job has ended: pass this call "
                "as then=… or on_failure=… of another."
            )
        options, limit = self.options, self.task.lane.settings.payload_limit
        spec = self._spec(options.id or new_id(), options.user, parent, trace)
        if may_exceed(spec, limit):
            what = "The chain of" if options.follows else "The call of"
            check_size("".join(texts_of(spec)), limit, what, self.task.name)
        return replace(spec, batch=batch, cascade=cascade) if batch or cascade else spec

    def template(self, *, user: str | None = None, trace: str | None = None, source: str = RESULT_OF_PARENT) -> JobSpec:
        """Return the spec of a call that follows another job or a batch. The store fills in the spec's id and parent.

        `user` is the spec's default user, and `source` is the source of `PREVIOUS_RESULT`. The job waits for its limits, and
        ignores `max_queued` (rule 9). The job also ignores the task's `on_disconnect`, which is for jobs that a client requested.
        """
        spec = self._spec("", self.options.user or user, None, trace)
        placeholders = {name: source if each == RESULT_OF_PARENT else each for name, each in self.placeholders.items()}
        abandon_after = None if self.options.on_disconnect is None else spec.abandon_after
        return as_waiting(replace(spec, placeholders=placeholders, abandon_after=abandon_after))

    def _spec(self, job_id: str, user: str | None, parent: str | None, trace: str | None) -> JobSpec:
        options, policy = self.options, self.task.policy
        on_disconnect = policy.on_disconnect if options.on_disconnect is None else options.on_disconnect
        return JobSpec(
            id=job_id,
            task=self.task.name,
            version=self.task.version,
            arguments=self.arguments,
            queue=policy.queue,
            user=user,
            priority=policy.priority if options.priority is None else options.priority,
            key=options.key,
            unique=options.unique,
            labels=options.labels,
            delay=options.delay,
            run_at=options.run_at,
            expires=policy.expires if options.expires is None else options.expires,
            deadline=policy.deadline if options.deadline is None else options.deadline,
            max_worker_losses=policy.max_worker_losses,
            max_log_size=policy.max_log_size,
            isolable=self.task.isolable,
            retention=policy.retention,
            abandon_after=None if on_disconnect == "continue" else to_seconds(on_disconnect.after),
            parent=parent,
            trace=trace,
            follow_ups=self._follow_ups(user, trace),
            limits=self._limits(user) if policy.limits else (),
            max_queued=policy.max_queued,
        )

    def _limits(self, user: str | None) -> tuple[Limit, ...]:
        task = self.task
        keys = LimitKeys(
            task=task.name, queue=task.policy.queue, user=user,
            arguments=lambda: task.signature.known_values(self.arguments, self.placeholders),
        )  # fmt: skip
        return keys.bind(task.policy.limits)

    def _follow_ups(self, user: str | None, trace: str | None) -> tuple[FollowUp, ...]:
        registry, settings, options = self.task.lane.registry, self.task.lane.settings, self.options
        following = []
        if options.follows:
            following = [
                FollowUp(frozenset({state}), call.template(user=user, trace=trace)) for state, call in options.following
            ]
        following += [
            FollowUp(callback.states, registry.callback_call(callback, settings).template(trace=trace))
            for callback in options.callbacks(self.task.policy.callbacks)
        ]
        dead_letter: Call[None] | None = registry.dead_letter_call
        if dead_letter is not None and dead_letter.task.name != self.task.name:
            following.append(FollowUp(frozenset({State.FAILED}), dead_letter.template(trace=trace)))
        if self._may_reference_files:
            following.append(FollowUp(REMOVED, registry.file_cleanup_call.template(trace=trace)))
        return tuple(following)

    @property
    def _may_reference_files(self) -> bool:
        """Whether the call's job, or a job that follows it, may reference files."""
        return (
            ID_PREFIX in self.arguments
            or self.task.signature.takes_files
            or (self.options.follows and any(ID_PREFIX in call.arguments for call in _all_following(self)))
        )

    def _is_same_as(self, other: "Call[Any]") -> bool:
        return (self.task.name, self.arguments, {}) == (other.task.name, other.arguments, other.placeholders)


def ensure_call(value: Call[R]) -> Call[R]:
    """Return a call unchanged. Raises `ArgumentsError` for any other value, e.g. a task without its arguments."""
    if not isinstance(value, Call):
        raise ArgumentsError(f"{value!r} is not a call: `task.call(…)` returns one.")
    return value


def check_lane(call: Call[Any], registry: object) -> None:
    """Raise `ConfigurationError` if the task of a call, or of one that follows it, is declared on a lane with another registry."""
    for each in (call, *_all_following(call)) if call.options.follows else (call,):
        if each.task.lane.registry is not registry:
            raise ConfigurationError(
                f"Task {each.task.name!r} is declared on another lane: submit its calls there, because no worker of this lane "
                "knows it."
            )


def _all_following(call: Call[Any]) -> "Iterator[Call[Any]]":
    for _, follow_up in call.options.following:
        if isinstance(follow_up, Call):
            yield follow_up
            yield from _all_following(follow_up)
