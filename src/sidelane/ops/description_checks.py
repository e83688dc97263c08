"""Checks of a description that no single key can make: names, dependencies, ports, and options of uvicorn."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from ipaddress import ip_address

from sidelane.model.errors import MissingExtra
from sidelane.model.option_names import did_you_mean
from sidelane.ops.groups import AUTOSCALER, STORE, Address, ApiGroup, CommandGroup, Group, Service, WorkerGroup

Keys = tuple[str, ...]

OWNED_OPTIONS: Mapping[str, str] = {
    "app": "write `app` in the group",
    "callback_notify": "it takes a Python object",
    "env_file": "write `env_file` at the top of the description",
    "fd": "Sidelane opens the socket",
    "host": "write `host` in the group",
    "log_config": "Sidelane configures the log",
    "port": "write `port` in the group",
    "reload": "`sidelane dev` restarts when the code changes",
    "reload_delay": "`sidelane dev` restarts when the code changes",
    "reload_dirs": "`sidelane dev` restarts when the code changes",
    "reload_excludes": "`sidelane dev` restarts when the code changes",
    "reload_includes": "`sidelane dev` restarts when the code changes",
    "ssl_context_factory": "it takes a Python object",
    "timeout_worker_healthcheck": "Sidelane watches the processes",
    "uds": "Sidelane opens the socket",
    "workers": "write `processes` in the group",
}
"""Options of uvicorn that a description cannot set, each with the reason."""

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})

_ANY = ""
"""The host of an address on every interface."""

_GROUP_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,39}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with the key at a path."""

    path: Keys
    text: str


def problems_of(service: Service, line: Callable[[Keys], int]) -> Iterator[Problem]:
    """Yield what is wrong with a description whose values have the right types. `line` returns the line of a key."""
    if not (service.api or service.worker or service.command):
        yield Problem((), 'there is no group; the smallest description is [api.web] with app = "main:app" below it.')
    yield from _names(service, line)
    yield from _environments(service)
    yield from _dependencies(service)
    yield from _ports(service, line)
    yield from _autoscaling(service)
    for name, group in service.api.items():
        yield from _options(name, group)


def all_groups(service: Service) -> list[tuple[str, Group]]:
    """Return the groups of all kinds by name."""
    return [*service.api.items(), *service.worker.items(), *service.command.items()]


def listening_addresses(group: Group) -> list[tuple[str, Address]]:
    """Return the addresses that a group listens on, each with its key, not counting the health port.

    A command is taken to listen on the address of its readiness check, if that is on this machine.
    """
    match group:
        case ApiGroup():
            return [("port", (group.host, group.port))]
        case CommandGroup(ready=ready) if ready and ready.address and _on_this_machine(ready.address[0]):
            return [("ready", ready.address)]
        case _:
            return []


def _names(service: Service, line: Callable[[Keys], int]) -> Iterator[Problem]:
    first: dict[str, Keys] = {}
    for path in sorted(((group.kind, name) for name, group in all_groups(service)), key=line):
        name = path[1]
        if not _GROUP_NAME.fullmatch(name):
            yield Problem(
                path, f"{name!r} is no name of a group: use 1 to 40 letters, digits, - and _, with no - or _ in front."
            )
        if name in first:
            other = first[name]
            yield Problem(
                path, f"there is a group {name!r} already, [{'.'.join(other)}] on line {line(other)}; rename one."
            )
        first.setdefault(name, path)


def _environments(service: Service) -> Iterator[Problem]:
    tables: list[tuple[Keys, Mapping[str, str]]] = [((), service.environment)]
    tables += [((group.kind, name), group.environment) for name, group in all_groups(service)]
    for path, variables in tables:
        for variable, value in variables.items():
            where = (*path, "environment", variable)
            if not _VARIABLE.fullmatch(variable):
                yield Problem(where, "a name of a variable has letters, digits and _, and no digit in front.")
            elif "\0" in value:
                yield Problem(where, "a value cannot contain a NUL character.")


def _dependencies(service: Service) -> Iterator[Problem]:
    groups = dict(all_groups(service))
    for name, group in groups.items():
        for needed in group.depends_on:
            if needed not in groups:
                yield Problem(
                    (group.kind, name, "depends_on"),
                    f"there is no group {needed!r}; {did_you_mean(needed, groups, 'the groups are')}",
                )
    try:
        TopologicalSorter({name: group.depends_on for name, group in groups.items()}).prepare()
    except CycleError as error:
        cycle = list(reversed(error.args[1]))  # from a group to what it depends on
        yield Problem(
            (groups[cycle[0]].kind, cycle[0], "depends_on"),
            f"the groups wait for each other, so that none can start: {' → '.join(cycle)}. Remove one of these dependencies.",
        )


def _ports(service: Service, line: Callable[[Keys], int]) -> Iterator[Problem]:
    used: list[tuple[Address, Keys]] = []
    for name, group in all_groups(service):
        addresses = [((group.kind, name, key), address) for key, address in listening_addresses(group)]
        if isinstance(group, ApiGroup | WorkerGroup):
            ports = (("health_port", group.health_port), ("metrics_port", group.metrics_port))
            addresses += [((group.kind, name, key), (_ANY, port)) for key, port in ports if port is not None]
        used += [(address, path) for path, address in addresses]
    used.sort(key=lambda entry: line(entry[1]))
    for number, (address, path) in enumerate(used):
        other = next((path for other, path in used[:number] if _overlap(address, other)), None)
        if other is not None:
            kind, name, key = other
            yield Problem(
                path, f"port {address[1]} is that of [{kind}.{name}] too (`{key}`, line {line(other)}); choose another."
            )


def _autoscaling(service: Service) -> Iterator[Problem]:
    """Yield what keeps one program from deciding about all autoscaled groups."""
    groups = {name: group for name, group in service.worker.items() if group.autoscale is not None}
    for name, group in all_groups(service):
        if groups and name == AUTOSCALER:
            yield Problem(
                (group.kind, name), f"{name!r} is the name of the program that autoscales groups; rename this group."
            )
    stores = {name: group.environment.get(STORE, service.environment.get(STORE)) for name, group in groups.items()}
    for name, store in stores.items():
        first = next(iter(stores))
        if store != stores[first]:
            yield Problem(
                ("worker", name, "autoscale"),
                f"its store is not that of the autoscaled group {first!r}: remove `autoscale` from one of them.",
            )


def _overlap(one: Address, other: Address) -> bool:
    hosts = {_interface(host) for host, _ in (one, other)}
    return one[1] == other[1] and (len(hosts) == 1 or _ANY in hosts)


def _on_this_machine(host: str) -> bool:
    return host in LOOPBACK or _interface(host) == _ANY


def _interface(host: str) -> str:
    """Return a host in the form that is compared."""
    try:
        return _ANY if not host or ip_address(host).is_unspecified else host
    except ValueError:  # a name
        return "127.0.0.1" if host == "localhost" else host


def _options(name: str, group: ApiGroup) -> Iterator[Problem]:
    for option, value in group.options.items():
        path = ("api", name, "options", option)
        if option in OWNED_OPTIONS:
            yield Problem(path, f"this option of uvicorn cannot be set here: {OWNED_OPTIONS[option]}.")
        elif option not in _uvicorn_options():
            known = _uvicorn_options() - OWNED_OPTIONS.keys()
            yield Problem(path, f"uvicorn has no such option; {did_you_mean(option, known, 'its options are')}")
        elif not isinstance(value, str | int | float | list):
            yield Problem(path, "an option is a text, a number, true or false, or a list.")


@cache
def _uvicorn_options() -> frozenset[str]:
    try:
        import uvicorn
    except ImportError as error:
        raise MissingExtra(
            "An API group needs the package 'uvicorn'. Install it with the extra `cli`: pip install 'sidelane[cli]'"
        ) from error
    return frozenset(inspect.signature(uvicorn.Config).parameters)
