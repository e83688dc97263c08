"""Checkup of a whole installation: settings, lane, store, machine and described service, as one list of results."""

import asyncio
import os
import platform
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sidelane.admin.alert_checks import check_alerts
from sidelane.admin.check_results import CheckResult, Found, LeftOut, Report, error, ok, warning
from sidelane.admin.lane_checks import NEEDS_LANE, check_extras, check_timeouts, check_webhook_secrets, count_tasks
from sidelane.admin.store_checks import check_modes, check_space, check_store, check_versions
from sidelane.app import Sidelane
from sidelane.configuration import IN_CODE, Configuration, load_settings, misspelled_variables
from sidelane.model.errors import ConfigurationError
from sidelane.model.settings import Settings
from sidelane.model.store_info import StoreInfo
from sidelane.ops.description import Description, has_description, load_description
from sidelane.ops.service_checks import (
    ServiceGroup,
    check_group_stores,
    check_group_timeouts,
    check_open_files,
    check_ports,
    check_secret,
    described_variables,
    running_programs,
    service_groups,
)
from sidelane.ops.state import FOLDER, StateDirectory
from sidelane.stores.factory import redact_url

NEEDS_DESCRIPTION = "ports"
"""The check that needs the description of a service."""

CANNOT_WORK = ("configuration", "lane", "store")
"""Checks whose error means that nothing can work."""


@dataclass(frozen=True, slots=True)
class _Service:
    """The described service, or what is to be said instead. Without a description there are no groups."""

    description: Description | None
    groups: tuple[ServiceGroup, ...]
    found: tuple[Found, ...]


def check_up(
    folder: Path, load_lane: Callable[[str], Sidelane], *, lane: str | None = None, store: str | None = None
) -> Report:
    """Make every check that is possible for the project in a folder.

    Settings are those of the service that the folder describes, or else of this process. `lane` and `store` override them.
    `load_lane` imports a lane by its reference, and raises `ConfigurationError` if it cannot.
    """
    service = _service(folder)
    try:
        environ = {**os.environ, **(service.description.environment if service.description else {})}
        configuration = load_settings(environ, folder, store=store)
    except ConfigurationError as reason:
        fault = error("configuration", str(reason), "Correct this value; `sidelane config` shows every setting.")
        return Report.of(None, [fault, LeftOut("store", "the settings cannot be read")])
    loaded, lane_error = _load(load_lane, lane or configuration.settings.lane)
    if loaded is not None and store is None:
        configuration = _with_settings_in_code(configuration, loaded.configuration)
    url = configuration.settings.store
    checked, info = asyncio.run(check_store(url))
    found: list[Found] = [
        *_configuration(configuration, service),
        *service.found,
        *checked,
        *check_group_stores(configuration.settings, service.groups),
        *_lane(loaded, lane_error, configuration.settings, service),
        check_secret(configuration.settings, service.groups),
        *check_alerts(configuration.settings),
        *_machine(configuration, service, info),
        *check_versions(platform.python_version(), info),
    ]
    return Report.of(redact_url(url), found)


def _service(folder: Path) -> _Service:
    try:
        if not has_description(folder):
            reason = f"there is no sidelane.toml, nor [tool.sidelane.up] in pyproject.toml, in {folder}"
            return _Service(None, (), (LeftOut(NEEDS_DESCRIPTION, reason),))
        description = load_description(folder)
        groups = service_groups(description)
    except ConfigurationError as reason:
        fault = error("description", str(reason), "Correct it; `sidelane up --print` shows what would run.")
        return _Service(None, (), (fault, LeftOut(NEEDS_DESCRIPTION, "the description cannot be read")))
    text = f"{description.file} describes the groups {', '.join(description.groups)}."
    return _Service(description, tuple(groups), (ok("description", text),))


def _load(load_lane: Callable[[str], Sidelane], reference: str) -> tuple[Sidelane | None, str]:
    """Return the lane, or why there is none."""
    if not reference:
        return None, ""
    try:
        return load_lane(reference), ""
    except ConfigurationError as reason:
        return None, str(reason)


def _with_settings_in_code(configuration: Configuration, of_lane: Configuration) -> Configuration:
    """Return the configuration with the settings that a lane's code sets, which override all others."""
    names = [name for name, origin in of_lane.origins.items() if origin == IN_CODE]
    settings = configuration.settings.model_copy(update={name: getattr(of_lane.settings, name) for name in names})
    return Configuration(settings, {**configuration.origins, **dict.fromkeys(names, IN_CODE)}, configuration.root)


def _configuration(configuration: Configuration, service: _Service) -> Iterator[CheckResult]:
    misspelled = {**misspelled_variables(), **misspelled_variables(described_variables(service.description))}
    for name, setting in sorted(misspelled.items()):
        text = f"{name} has no effect, because there is no such setting."
        yield warning("configuration", text, f"Write {setting} instead, or remove it.")
    if not misspelled:
        chosen = [name for name, origin in configuration.origins.items() if origin != "default"]
        differing = f"; not the defaults: {', '.join(chosen)}" if chosen else ""
        yield ok("configuration", f"The settings are valid{differing}.")


def _lane(lane: Sidelane | None, lane_error: str, settings: Settings, service: _Service) -> Iterator[Found]:
    """Make the checks that need the lane, and those of timeouts that do not."""
    of_groups = list(check_group_timeouts(service.groups, lane))
    if lane is None:
        yield from of_groups
        if lane_error:
            yield error("lane", lane_error, "Correct the lane, or name another with --lane.")
        reason = "the lane cannot be imported" if lane_error else "no lane is named; add --lane, or set SIDELANE_LANE"
        yield from (LeftOut(each, reason) for each in NEEDS_LANE)
        return
    yield ok("lane", f"The lane is imported; its number of tasks is {count_tasks(lane)}.")
    of_tasks = check_timeouts(lane, settings)
    yield from [*of_tasks, *of_groups] or [ok("timeouts", "The timeouts of tasks, settings and groups fit each other.")]
    yield from asyncio.run(check_webhook_secrets(lane, described_variables(service.description)))
    yield from check_extras(lane, settings)


def _machine(configuration: Configuration, service: _Service, info: StoreInfo | None) -> Iterator[CheckResult]:
    """Make the checks of ports, limits, files and disks."""
    settings = configuration.settings
    state = StateDirectory((configuration.root / FOLDER).resolve())
    if service.description is not None:
        yield from check_ports(service.description, running_programs(state))
    yield from check_open_files(settings, service.groups)
    private = {state.path: "the state directory"}
    folders = {state.path: "the state directory"}
    for path in map(Path, info.files if info is not None else ()):
        private[path] = "the store's file"
        folders[path.parent] = "the store"
    if "://" not in settings.file_storage:
        private[Path(settings.file_storage)] = "the folder of files"
        folders[Path(settings.file_storage)] = "the files"
    yield from check_modes(private)
    yield from check_space(folders)
