"""Finding the lane: in the module it is named by, or in what that module imports."""

import importlib
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

from sidelane.app import Sidelane
from sidelane.configuration import load_settings
from sidelane.model.errors import ConfigurationError

HOW_TO_NAME = "shop.lane:lane"

UNNAMED = """\
Which lane? Name it as module:attribute, for example `sidelane worker shop.lane:lane`; or once for all, as SIDELANE_LANE in \
the environment or as lane = "shop.lane:lane" under [tool.sidelane] in pyproject.toml."""


def load_lane(reference: str | None) -> Sidelane:
    """Import the lane that `reference` (else the setting `lane`) names, with its tasks. Raises `ConfigurationError`.

    `module:attribute` names the lane itself. Of `module` alone, or where the attribute is something else (a FastAPI
    application), it is the one lane that the module, or else what it imports, has; where that is not one, the setting decides.
    """
    setting = load_settings().settings.lane
    reference = reference or setting
    if not reference:
        raise ConfigurationError(UNNAMED)
    module, value = load_object(reference)
    lane = value if isinstance(value, Sidelane) else _only_lane(module, setting if setting != reference else "")
    with importing("The lane's tasks"):
        lane.load()
    return lane


def load_object(reference: str) -> tuple[ModuleType, Any]:
    """Import `module:attribute` and give both (None where no attribute is named). Raises `ConfigurationError`."""
    name, _, attribute = reference.partition(":")
    if "/" in name or name.endswith(".py") or not name:
        raise ConfigurationError(
            f"{reference!r}: a module is named with dots and without .py, for example {HOW_TO_NAME}."
        )
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    with importing(name):
        module = importlib.import_module(name)
    value: Any = module
    for part in attribute.split(".") if attribute else ():
        value = getattr(value, part, None)
        if value is None:
            raise ConfigurationError(f"Module {name!r} ({module.__file__}) has no {attribute!r}. {_offer(module)}")
    return module, value if attribute else None


@contextmanager
def importing(what: str) -> Iterator[None]:
    """Turn whatever goes wrong in an import into a `ConfigurationError` that says where."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{what}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"There is no module {what!r} in {Path.cwd()} or elsewhere on the import path. Run this in the folder that "
                f"holds {what.partition('.')[0]!r}."
            ) from error
        raise ConfigurationError(
            f"{what} cannot be imported: {type(error).__name__}: {_words(error)} ({_place(error)})."
        ) from error


def _only_lane(module: ModuleType, setting: str) -> Sidelane:
    found = _lanes(module) or {
        reference: lane
        for name, other in sorted(sys.modules.items())
        if not name.startswith("sidelane")
        for reference, lane in _lanes(other).items()
    }
    distinct = set(found.values())
    if len(distinct) == 1:
        return distinct.pop()
    if setting:
        return load_lane(setting)
    if not distinct:
        raise ConfigurationError(
            f"Neither {module.__name__!r} nor what it imports has a lane, that is, an object made by Sidelane(). Name it as "
            f"module:attribute, for example {HOW_TO_NAME}."
        )
    raise ConfigurationError(f"There is more than one lane here: {', '.join(found)}. Name the one you mean.")


def _lanes(module: ModuleType) -> dict[str, Sidelane]:
    """Give a module's lanes, by what names them on a command line."""
    # a copy, for merely looking at a proxy may make it import what it stands for
    members = list(vars(module).items())
    return {f"{module.__name__}:{name}": value for name, value in members if isinstance(value, Sidelane)}


def _offer(module: ModuleType) -> str:
    found = ", ".join(_lanes(module))
    return f"It has {found}." if found else f"A lane is named as module:attribute, for example {HOW_TO_NAME}."


def _words(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    return str(error).rstrip(".")


def _place(error: Exception) -> str:
    """Say which line of the user's own code an import broke at."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    ours = Path(__file__).parent.parent
    theirs = [
        frame
        for frame in frames
        if not frame.filename.startswith((str(ours), "<")) and "importlib" not in frame.filename
    ]
    last = (theirs or frames)[-1]
    return f"{last.filename}, line {last.lineno}"
