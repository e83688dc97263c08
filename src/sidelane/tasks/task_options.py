"""Options of tasks, wherever they are declared, and the check of the names of options."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict

from sidelane.model.durations import Duration
from sidelane.model.errors import ArgumentsError, TaskDeclarationError
from sidelane.model.limit import LimitPolicy
from sidelane.model.option_names import unknown_option
from sidelane.model.options import Callbacks, Disconnect, OptionFields
from sidelane.model.retry import Retry

Upgrade = Callable[[dict[str, Any], int], dict[str, Any]]
"""Converts the arguments that an older version of a task stored: `upgrade(arguments, version)`."""


class PolicyOptions(TypedDict, total=False):
    """The policy of a task, wherever it runs. Durations are seconds or a timedelta.

    `timeout` bounds one attempt, `deadline` all of them, and `expires` the wait for the first. `max_worker_losses` is the number of
    worker losses that a job survives, and `retention` how long a job is kept after its end. Events beyond `max_log_size` bytes are
    dropped. `limits` apply to each job of the task, beside those of its queue. `callback`, one or several of `Webhook` and
    `MessageCallback`, is sent for each job.
    """

    queue: str
    timeout: Duration | None
    retry: Retry
    expires: Duration | None
    deadline: Duration | None
    max_worker_losses: int
    max_log_size: int
    priority: int
    limits: Sequence[LimitPolicy]
    retention: Duration
    cancel_grace: Duration
    on_disconnect: Disconnect
    version: int
    upgrade: Upgrade
    aliases: Sequence[str]
    callback: Callbacks


class TaskOptions(PolicyOptions, total=False):
    """The arguments of `@lane.task(...)`. `process=True` runs the task in a child process that a timeout can kill.

    `keep_logs=True` keeps what the task logs, for `sidelane jobs logs`.
    """

    name: str
    process: bool
    keep_logs: bool


_OF_POLICIES = PolicyOptions.__optional_keys__
_OF_TASKS = TaskOptions.__optional_keys__
_OF_CALLS = OptionFields.__optional_keys__


def check_task_options(task: str, options: Mapping[str, object], *, external: bool = False) -> None:
    """Raise `TaskDeclarationError` if one of these is no option of a task."""
    unknown = unknown_option(options, _OF_POLICIES if external else _OF_TASKS, {"task.options(…)": _OF_CALLS})
    if unknown:
        raise TaskDeclarationError(f"Task {task!r}: {unknown}")


def check_call_options(task: str, options: Mapping[str, object]) -> None:
    """Raise `ArgumentsError` if one of these is no option of a call."""
    if options.keys() <= _OF_CALLS:
        return
    unknown = unknown_option(options, _OF_CALLS, {"@lane.task(…)": _OF_TASKS})
    if unknown:
        raise ArgumentsError(f"{task}: {unknown}")
