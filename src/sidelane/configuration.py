"""Configuration: settings from the environment, then `[tool.sidelane]` of the project, then defaults."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sidelane.model.durations import to_seconds
from sidelane.model.errors import ConfigurationError
from sidelane.model.settings import Settings
from sidelane.stores.factory import resolve_path

PREFIX = "SIDELANE_"

SERVICE = "up"
"""The key of `[tool.sidelane]` that is no setting: the description of a service for `sidelane up`."""

IN_CODE = "argument in code"
"""The origin of a setting that `Sidelane(settings=…)` sets."""

SIMILAR = 0.8
"""How similar the name of a variable is to that of a setting, from 0 to 1, if it is probably a misspelled one."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings, the origin of each, and the root of the project."""

    settings: Settings
    origins: Mapping[str, str]
    root: Path


def load_settings(
    environ: Mapping[str, str] = os.environ, start: Path | None = None, **arguments: Any
) -> Configuration:
    """Read every setting. `arguments` (not None) override the environment, which overrides the project's file.

    Raises `ConfigurationError` with the origin of an invalid value.
    """
    root, table = _project(start or Path.cwd())
    values: dict[str, Any] = {}
    origins = dict.fromkeys(Settings.model_fields, "default")
    sources = [
        (f"{root / 'pyproject.toml'}, [tool.sidelane]", table),
        (
            "environment",
            {name: value for name in Settings.model_fields if (value := environ.get(PREFIX + name.upper()))},
        ),
        (IN_CODE, {name: value for name, value in arguments.items() if value is not None}),
    ]
    for origin, table in sources:
        for name, value in table.items():
            if name not in Settings.model_fields:
                raise ConfigurationError(f"There is no setting {name!r} ({origin}). `sidelane config` lists them.")
            values[name] = to_seconds(value)
            origins[name] = f"{PREFIX}{name.upper()} ({origin})" if origin == "environment" else origin
    try:
        settings = Settings(**values)
    except ValidationError as error:
        invalid = "; ".join(
            f"{item['loc'][0]} ({origins[str(item['loc'][0])]}): {item['msg']}" for item in error.errors()
        )
        raise ConfigurationError(f"Settings: {invalid}.") from error
    storage = settings.file_storage if "://" in settings.file_storage else str(root / settings.file_storage)
    settings = settings.model_copy(update={"store": resolve_path(settings.store, root), "file_storage": storage})
    return Configuration(settings, origins, root)


def misspelled_variables(environ: Mapping[str, str] = os.environ) -> Mapping[str, str]:
    """Return the variables that are probably misspelled settings, each with the variable to write instead."""
    settings = [PREFIX + name.upper() for name in Settings.model_fields]
    names = [name for name in sorted(environ) if name.startswith(PREFIX) and name not in settings]
    found = {name: _similar(name.removeprefix(PREFIX)) for name in names}
    return {name: PREFIX + similar for name, similar in found.items() if similar is not None}


def _similar(name: str) -> str | None:
    matches = get_close_matches(name, [field.upper() for field in Settings.model_fields], n=1, cutoff=SIMILAR)
    return matches[0] if matches else None


def _project(start: Path) -> tuple[Path, dict[str, Any]]:
    for folder in (start, *start.parents):
        file = folder / "pyproject.toml"
        if file.is_file():
            try:
                document = tomllib.loads(file.read_text("utf-8"))
            except tomllib.TOMLDecodeError as error:
                raise ConfigurationError(f"{file} is not valid TOML: {error}.") from error
            table = document.get("tool", {}).get("sidelane", {})
            return folder, {name.replace("-", "_"): value for name, value in table.items() if name != SERVICE}
    return start, {}
