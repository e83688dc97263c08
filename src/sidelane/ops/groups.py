"""Groups of a service's processes, as a description writes them: keys, types, defaults and bounds."""

import re
import shlex
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from sidelane.model.durations import duration_of
from sidelane.model.sizes import size_of
from sidelane.processes.scale import MAX_PROCESSES
from sidelane.sizing.scaling import Bounds

Kind = Literal["api", "worker", "command"]

Address = tuple[str, int]
"""Host and port."""

DEFAULT_HOST = "127.0.0.1"

DEFAULT_PORT = 8000

AUTOSCALER = "autoscale"
"""The name of the program that decides about autoscaled groups."""

STORE = "SIDELANE_STORE"
"""The variable of the store."""

HEALTH_HOST = "127.0.0.1"
"""The host at which the health of a group is read."""

_REFERENCE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*(:[^\W\d]\w*(\.[^\W\d]\w*)*)?")
_QUEUE = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,64})(=[1-9][0-9]{0,5})?")


def _seconds(value: object) -> object:
    return duration_of(value) if isinstance(value, str) else value


def _duration(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        value = f"{value:.15g}s"
    if isinstance(value, str) and duration_of(value) <= 0:
        raise ValueError(f"{value!r} is no time at all: write a duration, e.g. 90s, 15min, 2h or 3d.")
    return value


def _size(value: object) -> object:
    if isinstance(value, int | float) and not isinstance(value, bool):
        raise ValueError(f'{value} has no unit: write a size in quotes, e.g. "500MB" or "2GiB".')
    if isinstance(value, str):
        size_of(value)
    return value


def _reference(value: str) -> str:
    if not _REFERENCE.fullmatch(value):
        raise ValueError(f"{value!r}: write module:attribute, with dots and without .py, e.g. shop.main:app.")
    return value


def _queue(value: str) -> str:
    if not _QUEUE.fullmatch(value):
        raise ValueError(f'{value!r}: write a queue as "name" or "name=slots", e.g. "email=2".')
    return value


def _autoscale(value: str) -> str:
    Bounds.parse(value)
    return value


def _arguments(value: object) -> object:
    try:
        arguments = shlex.split(value) if isinstance(value, str) else value
    except ValueError as error:
        raise ValueError(f"{value!r} has no end: {error}. Write a list if quotes belong to the text.") from error
    if isinstance(arguments, list) and not (arguments and arguments[0]):
        raise ValueError('there is no program to run: write e.g. run = "python -m shop.model --port 8080".')
    return arguments


Seconds = Annotated[float, BeforeValidator(_seconds), Field(ge=0, allow_inf_nan=False)]
"""Seconds, written as a number or as a duration."""

PositiveSeconds = Annotated[float, BeforeValidator(_seconds), Field(gt=0, allow_inf_nan=False)]

Duration = Annotated[str, BeforeValidator(_duration)]
"""The text of a duration, for `duration_of`; a number is written as seconds."""

Size = Annotated[str, BeforeValidator(_size)]
"""The text of a size, for `size_of`."""

Reference = Annotated[str, AfterValidator(_reference)]
"""Where an object is: `module:attribute`, or a module alone."""

Queue = Annotated[str, AfterValidator(_queue)]
"""A queue that a worker serves: `name`, or `name=slots`."""

Autoscale = Annotated[str, AfterValidator(_autoscale)]
"""The text of bounds, for `Bounds.parse`."""

Environment = Mapping[str, str]

Texts = Annotated[tuple[str, ...], Field(strict=False)]  # a TOML array is a list, which a strict tuple would refuse
Queues = Annotated[tuple[Queue, ...], Field(strict=False)]
Arguments = Annotated[tuple[str, ...], BeforeValidator(_arguments), Field(strict=False)]

Port = Annotated[int, Field(ge=1, le=65_535)]
Processes = Annotated[int, Field(ge=1, le=MAX_PROCESSES)]


class Table(BaseModel):
    """A table of the description. Unknown keys are refused, and no value is converted to another type."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", defer_build=True)


class Readiness(Table):
    """How to find out that a command is ready: exactly one check, and how long to wait for it."""

    http: str | None = Field(None, description="ready when this URL answers with status 2xx")
    tcp: str | None = Field(None, description="ready when `host:port` accepts a connection")
    log: str | None = Field(None, min_length=1, description="ready when a line of its output contains this text")
    delay: Seconds | None = Field(None, description="ready after this time")
    timeout: PositiveSeconds | None = Field(None, description="another way to write `ready_timeout`")

    @property
    def address(self) -> Address | None:
        """The address that the check connects to, if there is one."""
        if self.http is not None:
            return url_address(self.http)
        return host_and_port(self.tcp) if self.tcp is not None else None

    @field_validator("http", "tcp")
    @classmethod
    def _check_address(cls, value: str | None, info: Any) -> str | None:
        if value is not None:
            (url_address if info.field_name == "http" else host_and_port)(value)
        return value

    @model_validator(mode="after")
    def _check_count(self) -> "Readiness":
        checks = [name for name in ("http", "tcp", "log", "delay") if getattr(self, name) is not None]
        if len(checks) > 1:
            raise ValueError(f"there are several checks ({', '.join(checks)}): keep one of them.")
        if not checks:
            raise ValueError('there is no check: write e.g. ready = { http = "http://127.0.0.1:8080/health" }.')
        return self


class Group(Table):
    """What the groups of every kind have in common."""

    kind: ClassVar[Kind]

    depends_on: Texts = Field((), description="names of groups that must be ready before this one starts")
    environment: Environment = Field({}, description="variables of this group, over those of the service")
    ready_timeout: PositiveSeconds = Field(120.0, description="how long the group may take until it is ready")
    stop_timeout: Seconds | None = Field(
        None, description="how long a process may take to stop before it is killed; default: what its kind needs"
    )
    stop_first: bool = Field(
        False, description="on a restart, stop a process before its successor starts; for groups that cannot run twice"
    )
    autostart: bool = Field(True, description="start the group with the service")


class ApiGroup(Group):
    """Processes that serve a FastAPI application, or another ASGI application, on one address."""

    kind: ClassVar[Kind] = "api"

    app: Reference = Field(description="the application, e.g. `main:app`; required")
    host: str = Field(DEFAULT_HOST, min_length=1, description="address to listen on")
    port: Port = Field(DEFAULT_PORT, description="port to listen on")
    processes: Processes = Field(1, description="number of processes")
    weight: int = Field(1, ge=1, le=1000, description="share of the requests, for `deploy nginx`")
    pool: Literal["general", "heavy"] = Field("general", description="`general` or `heavy`, for `deploy nginx`")
    options: Mapping[str, Any] = Field({}, description="options of uvicorn, e.g. `{ timeout_keep_alive = 5 }`")
    health_port: Port | None = Field(None, description="port of the health checks")
    metrics_port: Port | None = Field(None, description="port of the [metrics](metrics.md) of each process")


class WorkerGroup(Group):
    """Worker processes of a lane."""

    kind: ClassVar[Kind] = "worker"

    lane: Reference | None = Field(
        None,
        description="the lane, e.g. `shop.lane:lane`; default: the setting `lane`, else the lane of the application",
    )
    queues: Queues | None = Field(None, description='queues to serve, e.g. `["chat", "email=2"]`; default: all')
    concurrency: int | None = Field(None, ge=1, le=10_000, description="jobs that one process runs at once")
    processes: Processes = Field(1, description="number of processes")
    autoscale: Autoscale | None = Field(
        None, description='bounds of the number of processes that [follows the load](autoscaling.md), e.g. `"1..8"`'
    )
    max_jobs: int | None = Field(None, ge=1, description="replace a process after this number of jobs")
    max_memory: Size | None = Field(None, description='replace a process above this memory, e.g. `"500MB"`')
    max_lifetime: Duration | None = Field(None, description='replace a process after this time, e.g. `"12h"`')
    health_port: Port | None = Field(None, description="port of the health checks")
    metrics_port: Port | None = Field(None, description="port of the [metrics](metrics.md) of each process")

    @property
    def bounds(self) -> Bounds | None:
        """The bounds of the number of processes, if it follows the load."""
        return None if self.autoscale is None else Bounds.parse(self.autoscale)

    @property
    def first_processes(self) -> int:
        """The number of processes at the start of the group."""
        bounds = self.bounds
        return self.processes if bounds is None or "processes" in self.model_fields_set else bounds.least

    @model_validator(mode="after")
    def _check_processes(self) -> "WorkerGroup":
        bounds = self.bounds
        if bounds is not None and bounds.clamp(self.first_processes) != self.first_processes:
            raise ValueError(
                f"`processes` is {self.processes}, which is not within `autoscale`, {bounds}: remove `processes`, or write a "
                "number within these bounds."
            )
        return self

    @field_validator("queues")
    @classmethod
    def _check_queues(cls, queues: Sequence[str] | None) -> Sequence[str] | None:
        names = [queue.partition("=")[0] for queue in queues or ()]
        if queues is not None and not queues:
            raise ValueError("there is no queue in the list: remove the key to serve all queues.")
        if repeated := next((name for name in names if names.count(name) > 1), None):
            raise ValueError(f"queue {repeated!r} is there more than once.")
        return queues


class CommandGroup(Group):
    """One process of any other program, e.g. a model server. A restart always stops it first."""

    kind: ClassVar[Kind] = "command"

    run: Arguments = Field(description="the program and its arguments: a text as in a shell, or a list; required")
    directory: str = Field(".", min_length=1, description="where it runs, from the folder of the description")
    ready: Readiness | None = Field(
        None, description="how to find out that it is ready; default: as soon as it has started"
    )

    @model_validator(mode="after")
    def _check_timeouts(self) -> "CommandGroup":
        if self.ready is not None and self.ready.timeout is not None and "ready_timeout" in self.model_fields_set:
            raise ValueError("`ready.timeout` and `ready_timeout` are the same: keep one of them.")
        if self.stop_first is False and "stop_first" in self.model_fields_set:
            raise ValueError("`stop_first` is always true for a command: remove it.")
        return self


class Service(Table):
    """The description as it is written."""

    env_file: str | None = Field(None, min_length=1, description="file of variables for every group, e.g. `.env`")
    environment: Environment = Field({}, description="variables of every group, over those of `env_file`")
    api: Mapping[str, ApiGroup] = Field({}, description="API groups by name")
    worker: Mapping[str, WorkerGroup] = Field({}, description="worker groups by name")
    command: Mapping[str, CommandGroup] = Field({}, description="commands by name")


def url_address(url: str) -> Address:
    """Return host and port of an HTTP URL. Raises ValueError."""
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname:
            return parts.hostname, parts.port or (443 if parts.scheme == "https" else 80)
    except ValueError:  # the port is no number, or a bracket of an IPv6 address is missing
        pass
    raise ValueError(f"{url!r} is no URL: write e.g. http://127.0.0.1:8080/health.")


def host_and_port(text: str) -> Address:
    """Return host and port of `host:port` or `[IPv6 address]:port`. Raises ValueError."""
    host, colon, port = text.rpartition(":")
    if not (host.strip("[]") and colon and port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65_536):
        raise ValueError(f"{text!r}: write host:port, e.g. 127.0.0.1:8080.")
    return host.strip("[]"), int(port)
