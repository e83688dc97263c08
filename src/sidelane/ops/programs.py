"""Programs of a service: the parent process of each group, as the supervisor starts it."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sidelane.model.printable import printable_line
from sidelane.ops.description import Description
from sidelane.ops.description_checks import listening_addresses
from sidelane.ops.groups import HEALTH_HOST, Address, ApiGroup, CommandGroup, Group, Kind, WorkerGroup
from sidelane.stores.factory import MASK, redact_url

STOP_MARGIN = 10.0
"""Seconds that a parent has beyond the stop timeout of its processes, before the supervisor kills it."""

WIDTH = 80

SECRET_VARIABLE = re.compile(r"SECRET|TOKEN|KEY|PASSWORD", re.IGNORECASE)
"""Names of variables whose values are never shown."""

_SECRET_OPTION = re.compile(r"(^|[-_])(secret|token|key|password)$", re.IGNORECASE)  # not --max-tokens


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """One program under the supervisor: the parent process of a group.

    `stop_timeout` is the time in seconds until the supervisor kills the parent: the group's own limit plus a margin. None without
    that limit: a worker's default depends on the longest timeout of its tasks, and only the group itself loads the lane.
    """

    name: str
    kind: Kind
    command: tuple[str, ...]  # begins with "sidelane", and has no control socket
    depends_on: tuple[str, ...]
    environment: Mapping[str, str]
    directory: Path
    address: Address | None  # the address that must be free, besides `health`
    health: Address | None
    processes: int
    ready_timeout: float
    stop_timeout: float | None
    autostart: bool
    autoscaled: bool = False


def programs_of(description: Description) -> tuple[Program, ...]:
    """Return the programs in the order in which they start: dependencies first, then in the order of the file."""
    return tuple(_program(description, name, description.groups[name]) for name in _start_order(description.groups))


def describe_programs(programs: Iterable[Program]) -> str:
    """Return the programs as text of 80 columns, with secrets masked. Only longer values make longer lines."""
    return "\n\n".join("\n".join(_lines(program)) for program in programs)


def _start_order(groups: Mapping[str, Group]) -> list[str]:
    ordered: list[str] = []

    def add(name: str) -> None:
        if name not in ordered:
            for needed in groups[name].depends_on:
                add(needed)
            ordered.append(name)

    for name in groups:
        add(name)
    return ordered


def _program(description: Description, name: str, group: Group) -> Program:
    directory = description.folder
    ready_timeout, processes, health = group.ready_timeout, 1, None
    arguments: list[str] = ["--name", name]
    after: list[str] = []
    match group:
        case ApiGroup():
            arguments = [group.app, *arguments, *_api_options(group)]
        case WorkerGroup():
            arguments = [*([group.lane] if group.lane else []), *arguments, *_worker_options(group)]
        case CommandGroup():
            directory = description.folder / group.directory
            arguments += _readiness_options(group)
            after = ["--", *group.run]
            if group.ready is not None and group.ready.timeout is not None:
                ready_timeout = group.ready.timeout
        case _:
            raise TypeError(f"unknown kind of group: {group!r}")
    if isinstance(group, ApiGroup | WorkerGroup):
        processes = group.first_processes if isinstance(group, WorkerGroup) else group.processes
        arguments += [*_option("--health-port", group.health_port), *_option("--metrics-port", group.metrics_port)]
        health = None if group.health_port is None else (HEALTH_HOST, group.health_port)
    arguments += [*_option("--ready-timeout", ready_timeout), *_option("--stop-timeout", group.stop_timeout)]
    arguments += ["--stop-first"] if group.stop_first or group.kind == "command" else []
    return Program(
        name=name,
        kind=group.kind,
        command=("sidelane", "run" if group.kind == "command" else group.kind, *arguments, *after),
        depends_on=tuple(dict.fromkeys(group.depends_on)),
        environment={**description.environment, **group.environment},
        directory=directory,
        address=next((address for _, address in listening_addresses(group)), None),
        health=health,
        processes=processes,
        ready_timeout=ready_timeout,
        stop_timeout=None if group.stop_timeout is None else group.stop_timeout + STOP_MARGIN,
        autostart=group.autostart,
        autoscaled=isinstance(group, WorkerGroup) and group.autoscale is not None,
    )


def _api_options(group: ApiGroup) -> Iterator[str]:
    yield from ("--host", group.host, *_option("--port", group.port), *_option("--processes", group.processes))
    for name, value in group.options.items():
        yield from ("--option", f"{name}={value if isinstance(value, str) else json.dumps(value)}")


def _worker_options(group: WorkerGroup) -> Iterator[str]:
    yield from _option("--queues", ",".join(group.queues) if group.queues else None)
    yield from _option("--concurrency", group.concurrency)
    yield from _option("--processes", group.first_processes)
    yield from _option("--max-jobs", group.max_jobs)
    yield from _option("--max-memory", group.max_memory)
    yield from _option("--max-lifetime", group.max_lifetime)


def _readiness_options(group: CommandGroup) -> Iterator[str]:
    if group.ready is not None:
        for check in ("http", "tcp", "log", "delay"):
            yield from _option(f"--ready-{check}", getattr(group.ready, check))


def _option(name: str, value: str | float | None) -> list[str]:
    if value is None:
        return []
    return [name, value if isinstance(value, str) else f"{value:.15g}"]


def _lines(program: Program) -> Iterator[str]:
    count = f", {program.processes} processes" if program.processes > 1 else ""
    yield f"{program.name} ({program.kind}{count}{'' if program.autostart else ', not started with the service'})"
    yield from _wrapped(" ".join(map(_quoted, part)) for part in _parts(list(_redacted(program.command))))
    facts = {
        "directory": [str(program.directory)],
        "depends on": [", ".join(program.depends_on)],
        "address": [_address(program.address)],
        "health": [_address(program.health)],
        "environment": [
            f"{name}={_redacted_value(value, secret=bool(SECRET_VARIABLE.search(name)))}"
            for name, value in sorted(program.environment.items())
        ],
    }
    for title, values in facts.items():
        for number, value in enumerate(filter(None, values)):
            yield f"    {'' if number else title:<13}{printable_line(value)}"


def _quoted(argument: str) -> str:
    return printable_line(shlex.quote(argument))


def _parts(arguments: Sequence[str]) -> Iterator[Sequence[str]]:
    """Yield the parts that share a line: an option with its value, or one argument."""
    start = 0
    while start < len(arguments):
        option, value = arguments[start], arguments[start + 1 : start + 2]
        together = (
            len(option) > 2 and option.startswith("--") and "=" not in option and not "".join(value).startswith("-")
        )
        yield arguments[start : start + 1 + together]
        start += 1 + together


def _wrapped(parts: Iterable[str]) -> Iterator[str]:
    """Yield a command line as a shell takes it: continued lines end with a backslash."""
    line = ""
    for part in parts:
        if line and len(line) + len(part) + 3 > WIDTH:  # a space before, and a space and a backslash after the part
            yield f"{line} \\"
            line = f"        {part}"
        else:
            line = f"{line} {part}" if line else f"    {part}"
    yield line


def _redacted(arguments: Iterable[str]) -> Iterator[str]:
    """Yield the arguments of a command line, with values of options such as `--api-key` masked."""
    secret = False
    for argument in arguments:
        name, equals, value = argument.partition("=")
        if not secret and equals and "://" not in name:
            yield f"{name}={_redacted_value(value, secret=bool(_SECRET_OPTION.search(name)))}"
        else:
            yield _redacted_value(argument, secret=secret)
        secret = not equals and argument.startswith("-") and bool(_SECRET_OPTION.search(argument))


def _redacted_value(value: str, *, secret: bool) -> str:
    if secret:
        return MASK if value else ""
    return redact_url(value) if "://" in value else value


def _address(address: Address | None) -> str:
    if address is None:
        return ""
    host, port = address
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
