"""Facts of a service for deployment: its description, and what its applications and lanes tell about themselves."""

import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from sidelane.app import Sidelane
from sidelane.configuration import load_settings
from sidelane.model.durations import DAY
from sidelane.model.errors import ConfigurationError
from sidelane.model.settings import Settings
from sidelane.ops.description import FILE, Description
from sidelane.ops.groups import ApiGroup, CommandGroup, Group, WorkerGroup
from sidelane.ops.programs import SECRET_VARIABLE, STOP_MARGIN, Program, programs_of
from sidelane.processes.parent import LINGER
from sidelane.stores.factory import redact_url
from sidelane.web.server import DEFAULT_OPTIONS
from sidelane.worker.worker import shutdown_timeout

HEALTH_PORT = 9000
"""Health port of a group in a container, unless its description has one."""

COMMAND_STOP_TIMEOUT = 30.0
"""Seconds that a command may take to stop, unless its description has a limit."""

STORE = "SIDELANE_STORE"

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1", ""})


@dataclass(frozen=True, slots=True)
class DeployFile:
    """A generated file."""

    name: str
    text: str


@dataclass(frozen=True, slots=True)
class Variables:
    """The variables of a group in the description: those to write, and the names of those that are secret.

    Variables of `env_file` are in neither, because that file is not committed.
    """

    public: Mapping[str, str]
    secret: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ServiceFacts:
    """A service: its name, its description, its applications by their references, and its lanes by the names of worker groups."""

    name: str
    description: Description
    applications: Mapping[str, Any] = field(default_factory=dict)
    lanes: Mapping[str, Sidelane] = field(default_factory=dict)

    @property
    def identifier(self) -> str:
        """The name for places that allow no `-`."""
        return self.name.replace("-", "_")

    @property
    def source(self) -> str:
        """The file of the description, for comments."""
        return self.description.file.name if self.description.file else f"the project (there is no {FILE})"

    @property
    def api_groups(self) -> dict[str, ApiGroup]:
        return {name: group for name, group in self.description.groups.items() if isinstance(group, ApiGroup)}

    @property
    def worker_groups(self) -> dict[str, WorkerGroup]:
        return {name: group for name, group in self.description.groups.items() if isinstance(group, WorkerGroup)}

    @cached_property
    def settings(self) -> Settings:
        """The settings of the service, without the variables of the shell that runs `sidelane deploy`."""
        return load_settings(self.description.environment, self.description.folder).settings

    @property
    def distinct_lanes(self) -> list[Sidelane]:
        return list(dict.fromkeys(self.lanes.values()))

    @cached_property
    def longest_timeout(self) -> float | None:
        """Seconds of the longest timeout of all tasks that have one, or None without tasks."""
        timeouts = [
            task.policy.timeout or lane.settings.timeout
            for lane in self.distinct_lanes
            for task in lane.registry.tasks.values()
            if task.policy.queue in lane.queues
        ]
        return max(filter(math.isfinite, timeouts), default=None)

    def drain_seconds(self, name: str) -> int:
        """Return how many seconds the processes of a group may take to stop."""
        group = self.description.groups[name]
        if group.stop_timeout is not None:
            return math.ceil(group.stop_timeout)
        match group:
            case ApiGroup():
                graceful = group.options.get("timeout_graceful_shutdown", DEFAULT_OPTIONS["timeout_graceful_shutdown"])
                return math.ceil(LINGER + float(graceful))
            case WorkerGroup() if name in self.lanes:
                lane = self.lanes[name]
                queues = self.queues_of(name)
                environ = {**self.description.environment, **group.environment}
                limit = load_settings(environ, self.description.folder).settings.shutdown_timeout
                settings = (
                    lane.settings if limit is None else lane.settings.model_copy(update={"shutdown_timeout": limit})
                )
                # after that it releases its jobs, which have time to clean up
                return math.ceil(min(shutdown_timeout(settings, lane.registry, queues), DAY) + settings.cancel_grace)
            case _:
                return math.ceil(COMMAND_STOP_TIMEOUT)

    def queues_of(self, name: str) -> list[str]:
        """Return the queues that a worker group serves."""
        queues = [queue.partition("=")[0] for queue in self.worker_groups[name].queues or ()]
        return queues or list(self.lanes[name].queues)

    def slots_of(self, name: str) -> int:
        """Return how many jobs one process of a worker group runs at once."""
        group = self.worker_groups[name]
        if group.concurrency is not None:
            return group.concurrency
        by_queue = [int(queue.partition("=")[2] or 0) for queue in group.queues or ()]
        settings = load_settings(
            {**self.description.environment, **group.environment}, self.description.folder
        ).settings
        return sum(by_queue) if by_queue and all(by_queue) else max(sum(by_queue), settings.concurrency)

    def grace_seconds(self, name: str) -> int:
        """Return after how many seconds the parent of a group may be killed: longer than its processes may take."""
        return self.drain_seconds(name) + round(STOP_MARGIN)

    def variables(self, group: Group | None = None) -> Variables:
        """Return the variables that the description sets for the service, or for one group."""
        if group is None:
            values = {
                name: value
                for name, value in self.description.environment.items()
                if self.description.file_variables.get(name) != value
            }
        else:
            values = dict(group.environment)
        secret = [name for name, value in values.items() if _is_secret(name, value)]
        return Variables({name: value for name, value in values.items() if name not in secret}, tuple(secret))

    def container_programs(self, *, processes: int | None = None) -> dict[str, Program]:
        """Return the programs for containers: APIs listen on all interfaces, and every group but commands has a health port."""
        groups = dict(self._container_groups(processes))
        return {each.name: each for each in programs_of(replace(self.description, groups=groups))}

    def _container_groups(self, processes: int | None) -> Iterator[tuple[str, Group]]:
        for name, group in self.description.groups.items():
            changes: dict[str, Any] = {}
            if isinstance(group, ApiGroup | WorkerGroup):
                changes = {
                    "health_port": group.health_port or HEALTH_PORT,
                    **({"processes": processes} if processes else {}),
                }
            if isinstance(group, ApiGroup):
                changes["host"] = "0.0.0.0"  # noqa: S104 # nosec B104 - within a container
            yield name, group.model_copy(update=changes)

    def container_directory(self, group: Group, root: str) -> str | None:
        """Return the folder of a command in a container whose project is in `root`, or None if it is that folder."""
        directory = group.directory if isinstance(group, CommandGroup) else "."
        return None if os.path.normpath(directory) == "." else os.path.normpath(os.path.join(root, directory))  # noqa: PTH118


def service_name(text: str) -> str:
    """Return a name for files and containers: small letters, digits and `-`."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:40].strip("-") or "service"


def is_local_store(url: str) -> bool:
    """Return whether a store is on the machine that uses it, so that containers and other machines do not reach it."""
    return url.startswith("sqlite") or (urlsplit(url).hostname or "") in LOOPBACK


def names_this_machine(value: str) -> bool:
    """Return whether a value of a variable contains an address of the machine itself, e.g. a URL of localhost."""
    return re.search(r"\b(localhost|127\.0\.0\.1)\b|\[::1\]", value) is not None


def connect_host(host: str) -> str:
    """Return the host at which a listening address is reached from the same machine, as URLs write it."""
    try:
        address = ip_address(host)
    except ValueError:  # a name
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"


def duration_text(seconds: float) -> str:
    """Return a duration for a comment, e.g. "90 s" or "10 min"."""
    if seconds >= 120 and seconds % 60 == 0:
        return f"{seconds / 60:g} min"
    return f"{seconds:g} s"


def check_one_application(groups: Mapping[str, ApiGroup], wanted: str | None) -> dict[str, ApiGroup]:
    """Return the groups of one application, the only one or the `wanted` one. Raises `ConfigurationError`."""
    applications = list(dict.fromkeys(group.app for group in groups.values()))
    if not applications:
        raise ConfigurationError(
            'The description has no API group, which nginx would serve. Add [api.web] with app = "main:app".'
        )
    if wanted is None and len(applications) > 1:
        raise ConfigurationError(
            f"The API groups have several applications: {', '.join(applications)}. A file for nginx is about one: name it, e.g. "
            f"--app {applications[0]}."
        )
    if wanted is not None and wanted not in applications:
        raise ConfigurationError(
            f"No API group has the application {wanted!r}. The applications are {', '.join(applications)}."
        )
    return {name: group for name, group in groups.items() if group.app == (wanted or applications[0])}


def _is_secret(name: str, value: str) -> bool:
    return bool(SECRET_VARIABLE.search(name)) or ("://" in value and redact_url(value) != value)
