"""Description of a service: its groups of processes, from `sidelane.toml` or `[tool.sidelane.up]` of `pyproject.toml`.

Every error is one paragraph with the file, and with the line and the key of each problem.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from sidelane.configuration import load_settings
from sidelane.model.errors import ConfigurationError
from sidelane.model.option_names import did_you_mean
from sidelane.ops.default_application import find_application
from sidelane.ops.description_checks import Keys, Problem, all_groups, problems_of
from sidelane.ops.env_file import read_env_file
from sidelane.ops.groups import ApiGroup, CommandGroup, Group, Readiness, Service, Table, WorkerGroup
from sidelane.ops.toml_lines import key_lines, read_toml

FILE = "sidelane.toml"

PROJECT_FILE = "pyproject.toml"

PROJECT_TABLE = ("tool", "sidelane", "up")

KINDS: Mapping[str, type[Group]] = {"api": ApiGroup, "worker": WorkerGroup, "command": CommandGroup}

EXAMPLES = {"app": 'app = "main:app"', "run": 'run = "python -m shop.model --port 8080"'}
"""How required keys may look."""

NO_LANE = """\
nothing names the lane of this group: add e.g. lane = "shop.lane:lane". It can be left out if SIDELANE_LANE is set, or if all API \
groups have the same application."""

FOREIGN_KEYS: Mapping[str, str] = {
    "application": "app", "cmd": "run", "command": "run", "cwd": "directory", "env": "environment", "instances": "processes",
    "max_requests": "max_jobs", "max_tasks_per_child": "max_jobs", "memory_limit": "max_memory", "numprocs": "processes",
    "replicas": "processes", "requires": "depends_on", "stopwaitsecs": "stop_timeout", "working_directory": "directory",
    "workers": "processes",
}  # fmt: skip
"""What keys of other supervisors are here."""

_TYPES = {
    "bool_type": "true or false", "dict_type": "a table", "finite_number": "a finite number", "float_type": "a number",
    "int_type": "a whole number", "mapping_type": "a table", "model_type": "a table", "string_type": "a text in quotes",
    "tuple_type": "a list",
}  # fmt: skip
"""What a value must be, by the type of pydantic's error."""

_BOUNDS = {
    "greater than or equal to": "at least", "greater than": "more than", "less than or equal to": "at most",
    "String should have at least 1 character": "a text",
}  # fmt: skip
"""Phrases of pydantic's messages, with shorter ones."""

_BARE = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The description of a service. A worker group without `lane` finds its lane by the setting `lane`."""

    folder: Path  # where the programs run
    file: Path | None  # None if there is no file, and the application was found
    groups: Mapping[str, Group]  # by name, in the order of the file
    environment: Mapping[str, str]  # of every group, with the variables of `env_file`
    env_file: str | None = None  # from the folder
    file_variables: Mapping[str, str] = field(default_factory=dict)  # those of `env_file`


def load_description(folder: Path) -> Description:
    """Load the description in a folder: that of `sidelane.toml`, else that of `pyproject.toml`.

    Without one, return an API group `api` and a worker group `worker` for the application that the folder contains. Raises
    `ConfigurationError`.
    """
    source = _source(folder)
    if source is None:
        service = Service(api={"api": ApiGroup(app=find_application(folder))}, worker={"worker": WorkerGroup()})
        source = _Source(folder, None, (), {}, "")
    else:
        service = source.service()
    variables = source.variables(service.env_file)
    environment = {**variables, **service.environment}
    return Description(
        folder=folder,
        file=source.file,
        groups=MappingProxyType(source.groups(service, environment)),
        environment=MappingProxyType(environment),
        env_file=service.env_file,
        file_variables=MappingProxyType(variables),
    )


def has_description(folder: Path) -> bool:
    """Return whether a folder contains a description. Raises `ConfigurationError` if its file is not valid TOML."""
    return _source(folder) is not None


def _source(folder: Path) -> "_Source | None":
    file = folder / FILE
    if file.is_file():
        return _Source(folder, file, (), *read_toml(file))
    file = folder / PROJECT_FILE
    if not file.is_file():
        return None
    table: Any
    table, text = read_toml(file)
    for key in PROJECT_TABLE:
        table = table.get(key) if isinstance(table, dict) else None
    return None if table is None else _Source(folder, file, PROJECT_TABLE, table, text)


@dataclass(frozen=True)
class _Source:
    """A table of a file, and where each of its keys is."""

    folder: Path
    file: Path | None
    prefix: Keys
    table: Any
    text: str

    @cached_property
    def _lines(self) -> Mapping[Keys, int]:
        return key_lines(self.text)

    def line(self, path: Keys) -> int:
        """Return the line of a key, or else of the innermost table around it that has a line."""
        whole = (*self.prefix, *path)
        return next((self._lines[whole[:end]] for end in range(len(whole), 0, -1) if whole[:end] in self._lines), 1)

    def service(self) -> Service:
        """Return the table as a value. Raises `ConfigurationError`."""
        try:
            service = Service.model_validate(self.table)
        except ValidationError as error:
            self._raise(self._problem(details) for details in error.errors(include_url=False))
            raise
        self._raise(problems_of(service, self.line))
        return service

    def groups(self, service: Service, environment: Mapping[str, str]) -> dict[str, Group]:
        """Return the groups in the order of the file. Worker groups get the only application as their lane, if nothing names one.

        Raises `ConfigurationError`.
        """
        applications = {group.app for group in service.api.values()}
        found: dict[str, Group] = {}
        for name, group in sorted(all_groups(service), key=lambda item: self.line((item[1].kind, item[0]))):
            found[name] = group
            if isinstance(group, WorkerGroup) and group.lane is None:
                environ = {**os.environ, **environment, **group.environment}
                if load_settings(environ, self.folder).settings.lane:
                    continue
                if len(applications) != 1:
                    self._raise([Problem(("worker", name), NO_LANE)])
                found[name] = group.model_copy(update={"lane": next(iter(applications))})
        return found

    def variables(self, env_file: str | None) -> dict[str, str]:
        """Return the variables of `env_file`. Raises `ConfigurationError`."""
        if env_file is None:
            return {}
        file = self.folder / env_file
        if not file.is_file():
            self._raise([Problem(("env_file",), f"there is no file {file}; create it, or remove this key.")])
        return read_env_file(file)

    def _raise(self, problems: Iterable[Problem]) -> None:
        """Raise one error for all problems, in the order of their lines, if there are any."""
        numbered = sorted(((self.line(problem.path), problem) for problem in problems), key=lambda pair: pair[0])
        texts = [f"line {line}{self._key(problem.path)}: {problem.text}" for line, problem in numbered]
        if texts:
            raise ConfigurationError(f"{self.file or self.folder}, {' Also '.join(dict.fromkeys(texts))}")

    def _key(self, path: Keys) -> str:
        """Return table and key for a message, e.g. ", [api.general] `port`"."""
        inner = 2 if path and path[0] in KINDS else 0
        table, key = (*self.prefix, *path[:inner]), path[inner:]
        return (f", {_header(table)}" if table else ",") * bool(table or key) + (f" `{'.'.join(key)}`" if key else "")

    def _problem(self, error: ErrorDetails) -> Problem:
        """Return a problem for an error of pydantic."""
        path = tuple(part for part in error["loc"] if isinstance(part, str))
        kind, value = error["type"], error["input"]
        if kind == "extra_forbidden":
            known = _table_at(path[:-1]).model_fields
            if path[0] != "worker" and path[-1] == "autoscale":
                return Problem(path, "only worker groups are autoscaled; remove this key.")
            if (own := FOREIGN_KEYS.get(path[-1])) in known:
                return Problem(path, f"there is no such key; did you mean `{own}`?")
            return Problem(path, f"there is no such key; {did_you_mean(path[-1], known, 'the keys here are')}")
        if kind == "missing":
            return Problem(path, f"this key is required, e.g. {EXAMPLES[path[-1]]}.")
        if path and path[0] in KINDS and len(path) <= 2 and not isinstance(value, dict):
            header = _header((*self.prefix, path[0], "NAME"))
            return Problem(path[:1], f"each group is a table with a name: write {header} above the keys of a group.")
        if kind == "value_error":
            return Problem(path, str(error["ctx"]["error"]))
        if kind == "literal_error":
            expected = error["ctx"]["expected"]
        elif kind in _TYPES:
            expected = _TYPES[kind]
        else:
            expected = error["msg"].removeprefix("Input should be ")
            for long, short in _BOUNDS.items():
                expected = expected.replace(long, short)
        # a value of an environment may be a secret
        seen = "" if "environment" in path else f", not {json.dumps(value, default=str, ensure_ascii=False)[:60]}"
        return Problem(path, f"this must be {expected}{seen}.")


def _table_at(path: Keys) -> type[Table]:
    """Return the model of the table at a path."""
    if not path:
        return Service
    return Readiness if len(path) > 2 else KINDS[path[0]]


def _header(path: Keys) -> str:
    """Return the header of a table in TOML."""
    return f"[{'.'.join(part if _BARE.fullmatch(part) else json.dumps(part, ensure_ascii=False) for part in path)}]"
