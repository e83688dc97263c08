"""Finds the lane that a command names, and opens its store."""

import asyncio
import importlib
import sys
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from sidelane.admin.job_ids import full_ids
from sidelane.app import Sidelane
from sidelane.client.client import Client
from sidelane.configuration import load_settings
from sidelane.model.errors import ConfigurationError
from sidelane.model.settings import Settings
from sidelane.stores.factory import file_missing, open_store

T = TypeVar("T")

EXAMPLE = "shop.lane:lane"

NO_LANE = """\
No lane is given. Name it as module:attribute, e.g. `sidelane worker shop.lane:lane`. Or set it once: SIDELANE_LANE in the \
environment, or lane = "shop.lane:lane" under [tool.sidelane] in pyproject.toml."""


def load_lane(reference: str | None) -> Sidelane:
    """Import a lane and its tasks. Raises `ConfigurationError`.

    `reference` is `module:attribute`; the default is the setting `lane`. If it names only a module, or something that is not a
    lane (e.g. a FastAPI application), return the only lane in that module, or else in the modules it imports. If there are
    several or none, the setting decides.
    """
    setting = load_settings().settings.lane
    reference = reference or setting
    if not reference:
        raise ConfigurationError(NO_LANE)
    module, value = load_object(reference)
    lane = value if isinstance(value, Sidelane) else _only_lane(module, setting if setting != reference else "")
    with importing("The lane's tasks"):
        lane.load()
    return lane


def load_object(reference: str) -> tuple[ModuleType, Any]:
    """Import `module:attribute` and return both; the second is None without an attribute. Raises `ConfigurationError`."""
    name, _, attribute = reference.partition(":")
    if "/" in name or name.endswith(".py") or not name:
        raise ConfigurationError(f"{reference!r}: write the module with dots and without .py, e.g. {EXAMPLE}.")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.insert(0, folder)
    with importing(name):
        module = importlib.import_module(name)
    value: Any = module
    for part in attribute.split(".") if attribute else ():
        value = getattr(value, part, None)
        if value is None:
            raise ConfigurationError(f"Module {name!r} ({module.__file__}) has no {attribute!r}. {_suggestion(module)}")
    return module, value if attribute else None


def settings_of(store: str | None, lane: str | None) -> Settings:
    """Return the settings to open a store with. Raises `ConfigurationError`."""
    if store is None and lane is not None:
        return load_lane(lane).settings
    return load_settings(store=store).settings


@asynccontextmanager
async def open_client(settings: Settings) -> AsyncIterator[Client]:
    """Open an existing store, without a lane, workers or maintenance.

    Raises `ConfigurationError` if nothing has been stored yet, and `StoreError` if the store cannot be opened.
    """
    if file_missing(settings.store):
        raise ConfigurationError(
            f"There is no store at {settings.store} yet. Run this in the project's folder, name the store by --store or "
            "SIDELANE_STORE, or start a worker."
        )
    client = Client(await open_store(settings.store), settings=settings)
    try:
        yield client
    finally:
        await client.close()


def with_client(settings: Settings, action: Callable[[Client], Awaitable[T]]) -> T:
    """Open an existing store, await `action` in a new event loop, and return its result. Raises the errors of `open_client`."""

    async def run() -> T:
        async with open_client(settings) as client:
            return await action(client)

    return asyncio.run(run())


def with_jobs(settings: Settings, ids: Sequence[str], action: Callable[[Client, list[str]], Awaitable[T]]) -> T:
    """Call `with_client` with an action on jobs. Each of `ids` may be shortened to a unique prefix."""

    async def run(client: Client) -> T:
        return await action(client, await full_ids(client.store, ids))

    return with_client(settings, run)


@contextmanager
def importing(what: str) -> Iterator[None]:
    """Raise a `ConfigurationError` with file and line instead of any error of an import."""
    try:
        yield
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name and f"{what}.".startswith(f"{error.name}."):
            raise ConfigurationError(
                f"There is no module {what!r} in {Path.cwd()} or on the import path. Run this in the folder that "
                f"contains {what.partition('.')[0]!r}."
            ) from error
        raise ConfigurationError(
            f"{what} cannot be imported: {type(error).__name__}: {_message(error)} ({_location(error)})."
        ) from error


def _only_lane(module: ModuleType, setting: str) -> Sidelane:
    found = _lanes(module) or loaded_lanes()
    distinct = set(found.values())
    if len(distinct) == 1:
        return distinct.pop()
    if setting:
        return load_lane(setting)
    if not distinct:
        raise ConfigurationError(
            f"Neither {module.__name__!r} nor the modules it imports contain a lane, i.e. an object made by Sidelane(). Name it as "
            f"module:attribute, e.g. {EXAMPLE}."
        )
    raise ConfigurationError(f"There is more than one lane: {', '.join(found)}. Name one of them.")


def loaded_lanes() -> dict[str, Sidelane]:
    """Return the lanes of all modules that are imported, by their names for a command line."""
    return {
        reference: lane
        for name, module in sorted(sys.modules.items())
        if name.partition(".")[0] != "sidelane"
        for reference, lane in _lanes(module).items()
    }


def _lanes(module: ModuleType) -> dict[str, Sidelane]:
    """Return a module's lanes by their names for a command line."""
    # a copy, because isinstance() on a lazy import proxy may import the module behind it
    members = list(vars(module).items())
    return {f"{module.__name__}:{name}": value for name, value in members if isinstance(value, Sidelane)}


def _suggestion(module: ModuleType) -> str:
    found = ", ".join(_lanes(module))
    return f"It has {found}." if found else f"Name a lane as module:attribute, e.g. {EXAMPLE}."


def _message(error: Exception) -> str:
    if isinstance(error, SyntaxError):
        return error.msg
    return str(error).rstrip(".")


def _location(error: Exception) -> str:
    """Return the file and line of the user's code at which an import failed."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}, line {error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    sidelane = Path(__file__).parent.parent
    users = [
        frame
        for frame in frames
        if not frame.filename.startswith((str(sidelane), "<")) and "importlib" not in frame.filename
    ]
    last = (users or frames)[-1]
    return f"{last.filename}, line {last.lineno}"
