"""Checks of a described service: ports, timeouts, secrets and stores of its groups, and the open files of its processes."""

import os
import resource
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from sidelane.admin.check_results import CheckResult, error, ok, warning
from sidelane.admin.lane_checks import drain_time
from sidelane.app import Sidelane
from sidelane.configuration import load_settings
from sidelane.model.errors import ConfigurationError, NoSupervisor, SupervisorError
from sidelane.model.settings import Settings
from sidelane.ops.description import Description
from sidelane.ops.description_checks import LOOPBACK
from sidelane.ops.groups import ApiGroup, Group, WorkerGroup
from sidelane.ops.programs import programs_of
from sidelane.ops.state import StateDirectory
from sidelane.ops.supervisor import MIN_FILES, SupervisorClient
from sidelane.processes.listen import format_address, open_listener
from sidelane.stores.factory import redact_url

FILES_PER_JOB = 2
"""Open files that a running job is taken to need: a connection to what it calls, and a file or a pipe."""

FILES_PER_PROCESS = 100
"""Open files of a process besides its jobs or streams: its store, its modules, its sockets."""

USUAL_STREAMS = 1000
"""Connections that an API process should be able to hold, unless its group limits them."""

STATE_TIMEOUT = 1.0
"""Seconds for the answer of the supervisor."""


@dataclass(frozen=True, slots=True)
class ServiceGroup:
    """A group of processes that use the store, with the settings that they get."""

    name: str
    group: ApiGroup | WorkerGroup
    settings: Settings


def service_groups(description: Description) -> list[ServiceGroup]:
    """Return the API and worker groups with their settings. Raises `ConfigurationError` if the settings of one are invalid."""
    return [
        ServiceGroup(name, group, load_settings(environment_of(description, group), description.folder).settings)
        for name, group in description.groups.items()
        if isinstance(group, ApiGroup | WorkerGroup)
    ]


def environment_of(description: Description, group: Group) -> dict[str, str]:
    """Return the variables that the processes of a group get."""
    return {**os.environ, **description.environment, **group.environment}


def described_variables(description: Description | None) -> dict[str, str]:
    """Return the variables that a description sets, for any of its groups."""
    found: dict[str, str] = {}
    if description is not None:
        found.update(description.environment)
        for group in description.groups.values():
            found.update(group.environment)
    return found


def running_programs(state: StateDirectory) -> frozenset[str]:
    """Return the names of the groups that run under this service's supervisor."""
    try:
        programs = SupervisorClient(state, timeout=STATE_TIMEOUT).programs()
    except (NoSupervisor, SupervisorError):
        return frozenset()
    return frozenset(name for name, info in programs.items() if info.running)


def check_ports(description: Description, running: Collection[str]) -> Iterator[CheckResult]:
    """Check that each address of the service is free, or held by the group that it belongs to."""
    own, free = [], []
    taken = False
    for program in programs_of(description):
        for address in filter(None, (program.address, program.health)):
            if program.name in running:
                own.append(format_address(*address))
                continue
            try:
                open_listener(*address).close()
                free.append(format_address(*address))
            except ConfigurationError as reason:
                taken = True
                action = (
                    f"Stop that program, or choose another port for the group {program.name!r} in {description.file}."
                )
                yield error("ports", f"Group {program.name!r}: {reason}", action)
    if not taken:
        texts = [f"free: {', '.join(free)}"] * bool(free) + [f"held by the running service: {', '.join(own)}"] * bool(
            own
        )
        yield ok("ports", f"Ports of the service: {'; '.join(texts) or 'none is described'}.")


def check_group_timeouts(groups: Sequence[ServiceGroup], lane: Sidelane | None) -> Iterator[CheckResult]:
    """Yield what contradicts between the stop timeouts of groups and the timeouts within their processes."""
    for each in groups:
        limit = each.group.stop_timeout
        if limit is None:
            continue
        if isinstance(each.group, WorkerGroup):
            drain = _drain(each, lane)
            if drain is not None and limit < drain:
                yield warning(
                    "timeouts",
                    f"Group {each.name!r}: its processes are killed {limit:g} s after a stop began (stop_timeout), but they wait "
                    f"up to {drain:g} s for their jobs. A killed process costs each of its jobs a worker loss.",
                    f"Set stop_timeout to more than {drain:g}, or remove it.",
                )
        else:
            graceful = each.group.options.get("timeout_graceful_shutdown")
            if isinstance(graceful, int | float) and limit <= graceful:
                yield warning(
                    "timeouts",
                    f"Group {each.name!r}: its processes are killed {limit:g} s after a stop began (stop_timeout), before "
                    f"uvicorn's timeout_graceful_shutdown of {graceful:g} s ends, so open requests break off.",
                    f"Set stop_timeout to more than {graceful:g}, or lower timeout_graceful_shutdown.",
                )


def check_secret(settings: Settings, groups: Sequence[ServiceGroup]) -> CheckResult:
    """Check the secret that signs links and tokens: one for all groups, and set if several machines may be involved."""
    if len({each.settings.secret for each in groups}) > 1:
        return error(
            "secret",
            f"The groups have different values of SIDELANE_SECRET ({', '.join(each.name for each in groups)}), so that one refuses "
            "the links and tokens of another.",
            "Set one value for all: in env_file, or in [environment] at the top of the description.",
        )
    if settings.secret or (groups and groups[0].settings.secret):
        return ok("secret", "SIDELANE_SECRET is set.")
    if (reason := _several_machines(settings, groups)) is None:
        return ok(
            "secret",
            "SIDELANE_SECRET is not set; a generated one is kept in the store, which suffices for development.",
        )
    return warning(
        "secret",
        f"SIDELANE_SECRET is not set although {reason}. The secret is then kept in the store, where anyone who can read the store "
        "can read it and forge links and tokens.",
        "Set SIDELANE_SECRET to the same value for all processes, e.g. to what `openssl rand -base64 32` prints.",
    )


def check_group_stores(settings: Settings, groups: Sequence[ServiceGroup]) -> Iterator[CheckResult]:
    """Yield the groups that use another store than the one that is checked."""
    for each in groups:
        if each.settings.store != settings.store:
            yield warning(
                "store",
                f"Group {each.name!r} uses another store than the one checked here: {redact_url(each.settings.store)}, not "
                f"{redact_url(settings.store)}.",
                "Set SIDELANE_STORE once for all groups, in env_file or [environment], and in this shell.",
            )


def check_open_files(settings: Settings, groups: Sequence[ServiceGroup]) -> Iterator[CheckResult]:
    """Check that the limit on open files allows the concurrency that is requested."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = _number(soft)
    if groups:  # `sidelane up` raises its own limit as far as this, and its processes inherit it
        limit = max(limit, min(_number(hard), MIN_FILES))
    needs = {f"Group {each.name!r}": _needed_files(each) for each in groups}
    needs = needs or {
        "A worker": (settings.concurrency * FILES_PER_JOB + FILES_PER_PROCESS, f"{settings.concurrency} jobs at once")
    }
    low = False
    for user, (needed, reason) in needs.items():
        if limit < needed:
            low = True
            yield warning(
                "open-files",
                f"{user}: a process may have {limit:,} open files, but {reason} need about {needed:,}. Beyond the limit, jobs and "
                "requests fail with 'Too many open files'.",
                f"Raise the limit to at least {needed}: `ulimit -n {needed}`, or LimitNOFILE={needed} in the unit of systemd.",
            )
    if not low:
        yield ok("open-files", f"A process may have {limit:,} open files, which suffices for the concurrency.")


def _drain(group: ServiceGroup, lane: Sidelane | None) -> float | None:
    """Return how long a worker of a group waits for its jobs, or None if only the lane knows."""
    if group.settings.shutdown_timeout is not None:
        return group.settings.shutdown_timeout
    if lane is None or not isinstance(group.group, WorkerGroup):
        return None
    queues = group.group.queues
    return drain_time(lane, group.settings, None if queues is None else [queue.partition("=")[0] for queue in queues])


def _several_machines(settings: Settings, groups: Sequence[ServiceGroup]) -> str | None:
    """Return why several machines may use the store, or None."""
    apis = [each for each in groups if isinstance(each.group, ApiGroup)]
    hosts = [each.group.host for each in apis if isinstance(each.group, ApiGroup) and each.group.host not in LOOPBACK]
    if not settings.store.startswith("sqlite:"):
        return "the store is a server, which several machines can use"
    if len(apis) > 1:
        return f"there are several API groups ({', '.join(each.name for each in apis)})"
    return f"the API listens on {hosts[0]}, where other machines reach it" if hosts else None


def _needed_files(each: ServiceGroup) -> tuple[int, str]:
    """Return the open files that one process of a group needs, and for what."""
    if isinstance(each.group, WorkerGroup):
        slots = _slots(each.group, each.settings)
        return slots * FILES_PER_JOB + FILES_PER_PROCESS, f"{slots:,} jobs at once"
    limit = each.group.options.get("limit_concurrency")
    streams = limit if isinstance(limit, int) else USUAL_STREAMS
    return streams + FILES_PER_PROCESS, f"{streams:,} connections and streams"


def _slots(group: WorkerGroup, settings: Settings) -> int:
    """Return the jobs that a worker of a group runs at once, as `sidelane worker` reckons them."""
    if group.concurrency is not None:
        return group.concurrency
    slots = [queue.partition("=")[2] for queue in group.queues or ("",)]
    total = sum(int(each or 0) for each in slots)
    return total if all(slots) else max(total, settings.concurrency)


def _number(limit: int) -> int:
    return 2**31 if limit == resource.RLIM_INFINITY else limit
