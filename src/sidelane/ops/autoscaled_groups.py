"""Autoscaled groups of a service, and the program that decides how many processes they have."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from pydantic import ValidationError

from sidelane.model.errors import ConfigurationError
from sidelane.ops.description import Description
from sidelane.ops.groups import AUTOSCALER, STORE, WorkerGroup
from sidelane.ops.programs import Program, programs_of
from sidelane.ops.selection import check_names

READY_TIMEOUT = 30.0
"""Seconds that the autoscaler may take until it runs."""


def with_autoscale(description: Description, bounds: Mapping[str, str]) -> Description:
    """Return the description with bounds of worker groups, e.g. "1..8", in place of those that it has.

    Raises `UnknownGroup` and `ConfigurationError`.
    """
    groups = dict(description.groups)
    check_names(bounds, groups)
    for name, text in bounds.items():
        group = groups[name]
        if not isinstance(group, WorkerGroup):
            raise ConfigurationError(
                f"--autoscale {name}={text}: only worker groups are autoscaled, and {name} is of the kind {group.kind!r}."
            )
        try:
            groups[name] = WorkerGroup.model_validate({**group.model_dump(exclude_unset=True), "autoscale": text})
        except ValidationError as error:
            raise ConfigurationError(f"--autoscale {name}={text}: {error.errors()[0]['ctx']['error']}") from error
    return replace(description, groups=MappingProxyType(groups))


def service_programs(description: Description, state_directory: Path) -> tuple[Program, ...]:
    """Return the programs of the groups, and the one that decides about the autoscaled groups if there are any."""
    autoscaler = _autoscaler(description, state_directory)
    return (*programs_of(description), *((autoscaler,) if autoscaler else ()))


def _autoscaler(description: Description, state_directory: Path) -> Program | None:
    groups = {
        name: group
        for name, group in description.groups.items()
        if isinstance(group, WorkerGroup) and group.autoscale is not None
    }
    if not groups:
        return None
    bounds = [f"{name}={group.bounds}" for name, group in groups.items()]
    stores = [group.environment[STORE] for group in groups.values() if STORE in group.environment]
    return Program(
        name=AUTOSCALER,
        kind="command",
        command=(
            "sidelane", "run", "--name", AUTOSCALER, "--stop-first", "--",
            "sidelane", "autoscale", *bounds, "--state-dir", str(state_directory),
        ),
        depends_on=tuple(name for name, group in groups.items() if group.autostart),
        environment={**description.environment, **({STORE: stores[0]} if stores else {})},
        directory=description.folder,
        address=None,
        health=None,
        processes=1,
        ready_timeout=READY_TIMEOUT,
        stop_timeout=None,
        autostart=any(group.autostart for group in groups.values()),
    )  # fmt: skip
