"""Checks of a lane: timeouts that contradict each other, webhook secrets, and packages that its endpoints need."""

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from sidelane.admin.check_results import CheckResult, error, ok, warning
from sidelane.app import Sidelane
from sidelane.callbacks.signing import SecretError, secret_variable
from sidelane.callbacks.webhook import WebhookTarget
from sidelane.external.http import Http
from sidelane.external.task import external_tasks
from sidelane.model.errors import MissingExtra
from sidelane.model.settings import Settings
from sidelane.tasks.internal_queues import INTERNAL_QUEUES
from sidelane.tasks.task import Task
from sidelane.transports.contract import Endpoint
from sidelane.transports.endpoints import Sqs
from sidelane.worker.worker import MIN_SHUTDOWN_TIMEOUT

NEEDS_LANE = ("timeouts", "webhook-secrets", "extras")
"""Checks that need the lane."""

NAMED = 3
"""Names that a message lists."""


def check_timeouts(lane: Sidelane, settings: Settings) -> list[CheckResult]:
    """Return what contradicts in the timeouts of tasks and settings."""
    return [*_task_timeouts(lane, settings), *_setting_timeouts(lane, settings)]


def drain_time(lane: Sidelane, settings: Settings, queues: Sequence[str] | None = None) -> float:
    """Return how many seconds a worker of some queues (None: all) may wait for its jobs when it stops."""
    if settings.shutdown_timeout is not None:
        return settings.shutdown_timeout
    times = [_longest(task, settings) for task in _tasks(lane) if queues is None or task.policy.queue in queues]
    return max([MIN_SHUTDOWN_TIMEOUT, *times])


async def check_webhook_secrets(lane: Sidelane, environment: Mapping[str, str]) -> list[CheckResult]:
    """Check the webhook secrets that tasks name. `environment` has the variables of the service's groups."""
    names = _secret_names(lane)
    errors: list[CheckResult] = []
    for name, users in names.items():
        variable = secret_variable(name)
        try:
            await lane.callback_delivery.check_secret(name, environment.get(variable, ""))
        except SecretError as reason:
            action = f'Set {variable} for the workers, e.g. to `echo "whsec_$(openssl rand -base64 32)"`.'
            errors.append(error("webhook-secrets", f"{reason} {_listed(users)} cannot send without it.", action))
        except MissingExtra as reason:
            errors.append(error("webhook-secrets", str(reason), "pip install 'sidelane[webhooks]'"))
    if errors:
        return errors
    text = (
        f"The webhook secrets that tasks name are set: {', '.join(names)}."
        if names
        else "No task names a webhook secret."
    )
    return [ok("webhook-secrets", text)]


def check_extras(lane: Sidelane, settings: Settings) -> Iterator[CheckResult]:
    """Yield the packages that are missing for endpoints, webhooks and the file storage."""
    missing: list[CheckResult] = []
    for endpoint, user in _endpoints(lane).items():
        try:
            endpoint.require_driver()
        except MissingExtra:
            action = f"pip install 'sidelane[{endpoint.kind}]'"
            missing.append(error("extras", f"{user} uses {endpoint}, and its package is not installed.", action))
    if any(True for _ in _webhooks(lane)) and find_spec("httpcore2") is None:
        missing.append(
            error(
                "extras", "Tasks send webhooks, and their package is not installed.", "pip install 'sidelane[webhooks]'"
            )
        )
    if "://" in settings.file_storage and find_spec("obstore") is None:
        missing.append(
            error(
                "extras",
                f"SIDELANE_FILE_STORAGE is {settings.file_storage}, and its package is not installed.",
                "pip install 'sidelane[files]'",
            )
        )
    yield from missing or [ok("extras", "All packages are installed that the lane's endpoints need.")]


def count_tasks(lane: Sidelane) -> int:
    """Return the number of tasks that a lane declares, without internal ones."""
    return len(_tasks(lane)) + len(external_tasks(lane.registry))


def _tasks(lane: Sidelane) -> list[Task[..., Any, Any]]:
    """Return the user's own tasks that run in workers."""
    external = {task.name for task in external_tasks(lane.registry)}
    return [
        task
        for name, task in lane.registry.tasks.items()
        if name == task.name and name not in external and task.policy.queue not in INTERNAL_QUEUES
    ]


def _longest(task: Task[..., Any, Any], settings: Settings) -> float:
    return (task.policy.timeout or settings.timeout) + task.policy.cancel_grace


def _task_timeouts(lane: Sidelane, settings: Settings) -> Iterator[CheckResult]:
    for task in [*_tasks(lane), *external_tasks(lane.registry)]:
        timeout, deadline = task.policy.timeout or settings.timeout, task.policy.deadline
        if deadline is not None and deadline < timeout:
            yield warning(
                "timeouts",
                f"Task {task.name!r}: its deadline of {deadline:g} s ends before its timeout of {timeout:g} s, which never counts.",
                "Raise the deadline, which bounds all attempts together, or lower the timeout of one attempt.",
            )
    for external in external_tasks(lane.registry):
        timeout = external.policy.timeout or settings.timeout
        if isinstance(external.routing.send_to, Sqs) and timeout > Sqs.max_visibility:
            yield warning(
                "timeouts",
                f"Task {external.name!r}: its timeout of {timeout:g} s is longer than SQS hides a message that is in work "
                f"({Sqs.max_visibility:g} s), so a second remote worker would get the job.",
                f"Lower the timeout to at most {Sqs.max_visibility:g} s, or split the work.",
            )


def _setting_timeouts(lane: Sidelane, settings: Settings) -> Iterator[CheckResult]:
    tasks = _tasks(lane)
    if not tasks:
        return
    longest = max(_longest(task, settings) for task in tasks)
    limit = settings.shutdown_timeout
    if limit is not None and (slow := [task.name for task in tasks if _longest(task, settings) > limit]):
        yield warning(
            "timeouts",
            f"A stopping worker waits {limit:g} s for its jobs (shutdown_timeout), but {_listed(slow)} may run longer, up to "
            f"{longest:g} s. Each deploy would start their jobs again.",
            f"Remove shutdown_timeout, or set it to at least {longest:g}.",
        )
    if settings.lease_duration > longest:
        yield warning(
            "timeouts",
            f"The jobs of a dead worker wait for its lease of {settings.lease_duration:g} s, longer than any task may run "
            f"({longest:g} s).",
            "Lower lease_duration; 10 s is the default.",
        )


def _targets(lane: Sidelane) -> Iterator[tuple[str, Any]]:
    """Yield the names of tasks and the targets of their callbacks."""
    for name, task in lane.registry.tasks.items():
        if name == task.name:
            for callback in task.policy.callbacks:
                yield f"Task {name!r}", callback.destination(lane.settings)[1]


def _webhooks(lane: Sidelane) -> Iterator[tuple[str, WebhookTarget]]:
    return ((user, target) for user, target in _targets(lane) if isinstance(target, WebhookTarget))


def _secret_names(lane: Sidelane) -> dict[str, list[str]]:
    """Return the names of the secrets that tasks declare, each with the tasks. Calls may name more."""
    found: dict[str, list[str]] = {}
    for user, target in _webhooks(lane):
        if target.secret is not None:
            found.setdefault(target.secret, []).append(user)
    for task in external_tasks(lane.registry):
        endpoint = task.routing.send_to
        if isinstance(endpoint, Http) and endpoint.secret is not None:
            found.setdefault(endpoint.secret, []).append(f"Task {task.name!r}")
    return found


def _endpoints(lane: Sidelane) -> dict[Endpoint, str]:
    """Return the endpoints that the lane declares, each with what uses it."""
    found: dict[Endpoint, str] = {}
    for consumer in lane.consumers:
        found.setdefault(consumer.endpoint, f"Consumer {consumer.name!r}")
    for task in external_tasks(lane.registry):
        for endpoint in (task.routing.send_to, task.routing.replies_from):
            if endpoint is not None:
                found.setdefault(endpoint, f"Task {task.name!r}")
    for user, target in _targets(lane):
        if not isinstance(target, WebhookTarget):
            found.setdefault(target, user)
    return found


def _listed(names: Sequence[str]) -> str:
    """Return a few names for a sentence."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
