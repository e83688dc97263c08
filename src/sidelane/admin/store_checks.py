"""Checks of a store: whether it accepts jobs, what could lose them, its clock, and the space and the modes of its files."""

import os
import re
import shutil
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import metadata
from pathlib import Path

from sidelane.admin.check_results import CheckResult, Found, LeftOut, error, ok, warning
from sidelane.model.errors import MissingExtra, SidelaneError, StoreError
from sidelane.model.sizes import size_text
from sidelane.model.store_info import StoreInfo
from sidelane.stores.contract import Store
from sidelane.stores.factory import file_missing, open_store, redact_url

MAX_SKEW = 1.0
"""Seconds by which the clock of this machine may differ from the store's."""

MIN_FREE = 1_000_000_000
MIN_FREE_PART = 0.05
"""Bytes of free disk space, and their part of the disk, below which a check warns."""

DEPENDENT = ("durability", "clock")
"""Checks that need an open store."""

_REQUIREMENT = re.compile(r"(?P<name>[A-Za-z0-9._-]+)(\[[^]]*\])?\s*>=\s*(?P<lowest>[0-9.]+)")


async def check_store(url: str, now: Callable[[], float] = time.time) -> tuple[list[Found], StoreInfo | None]:
    """Return the results of the checks of a store, and its information if it can be used. `now` is the clock of this machine."""
    if file_missing(url):
        action = "Run this in the project's folder, name the store by --store or SIDELANE_STORE, or start a worker."
        return _unusable(f"There is no store at {url} yet.", action), None
    try:
        store = await open_store(url)
    except SidelaneError as reason:
        return _unusable(str(reason), _action(reason)), None
    try:
        await store.get_or_set("checked", "yes")  # a store that can be read may be full or locked
        info = await store.info()
        found: list[Found] = [ok("store", f"{redact_url(url)} ({store.description}) accepts jobs.")]
        found += [*_durability(store), await check_clock(store, now)]
    except StoreError as reason:
        return _unusable(str(reason), _action(reason)), None
    finally:
        await store.close()
    return found, info


async def check_clock(store: Store, now: Callable[[], float] = time.time) -> CheckResult:
    """Compare this machine's clock with the store's, which decides about leases, delays and schedules."""
    before = now()
    there = (await store.list_schedules()).now
    after = now()
    skew = max(before - there, there - after, 0.0)  # the answer was made between the two
    if skew <= MAX_SKEW:
        return ok("clock", "The clock of this machine agrees with the store's.")
    behind = "behind" if there > after else "ahead of"
    return warning(
        "clock",
        f"The clock of this machine is {skew:,.1f} s {behind} the store's, so times in logs and in signed links are wrong.",
        "Synchronise both clocks, e.g. with chrony or systemd-timesyncd.",
    )


def check_modes(private: dict[Path, str]) -> Iterator[CheckResult]:
    """Check that only their owner can read some files and folders, and that this user can write them. Values say what each is."""
    private_only = True
    for path, what in private.items():
        try:
            status = path.stat()
        except OSError:
            continue
        if not os.access(path, os.W_OK):
            private_only = False
            yield error(
                "permissions",
                f"This user cannot write to {what} {path}.",
                f"Run everything as the user that owns it (id {status.st_uid}), or change its owner with chown.",
            )
        elif (mode := stat.S_IMODE(status.st_mode)) & 0o077:
            private_only = False
            wanted = "700" if stat.S_ISDIR(status.st_mode) else "600"
            yield warning(
                "permissions",
                f"Other users of this machine have access to {what} {path} (mode {mode:o}).",
                f"chmod {wanted} {path}",
            )
    if private_only:
        yield ok("permissions", "Only their owner can read the files of the store and of the service.")


def check_space(folders: dict[Path, str]) -> Iterator[CheckResult]:
    """Check the free space of disks. Values say what each folder is for. Folders on one disk have one result."""
    disks: dict[int, tuple[Path, list[str]]] = {}
    for folder, what in folders.items():
        with suppress(OSError):
            disks.setdefault(folder.stat().st_dev, (folder, []))[1].append(what)
    low = False
    for folder, purposes in disks.values():
        usage = shutil.disk_usage(folder)
        if usage.free < MIN_FREE or usage.free < usage.total * MIN_FREE_PART:
            low = True
            yield warning(
                "disk",
                f"The disk with {' and '.join(purposes)} ({folder}) has {size_text(usage.free)} free of {size_text(usage.total)}.",
                "Free some space, shorten the retention of jobs, or move the files to another disk: a full disk accepts no jobs.",
            )
    if disks and not low:
        yield ok(
            "disk",
            f"The disk with {' and '.join(what for _, each in disks.values() for what in each)} has enough free space.",
        )


def check_versions(python: str, info: StoreInfo | None) -> Iterator[CheckResult]:
    """Check the versions of the installed packages, and name those of Python, Sidelane and the store's database."""
    old = list(_old_packages())
    for package, version, lowest in old:
        yield warning(
            "versions",
            f"{package} {version} is older than {lowest}, the oldest version that Sidelane is tested with.",
            f"pip install --upgrade '{package}>={lowest}'",
        )
    if not old:
        database = "" if info is None else f", {info.kind} {info.version}"
        yield ok("versions", f"Python {python}, Sidelane {metadata.version('sidelane')}{database}.")


def _old_packages() -> Iterator[tuple[str, str, str]]:
    """Yield installed packages that are older than Sidelane requires: name, version, lowest version."""
    seen = set()
    for requirement in metadata.requires("sidelane") or ():
        found = _REQUIREMENT.match(requirement)
        if found and found["name"] not in seen:
            seen.add(found["name"])
            with suppress(metadata.PackageNotFoundError):
                version = metadata.version(found["name"])
                if _numbers(version) < _numbers(found["lowest"]):
                    yield found["name"], version, found["lowest"]


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.partition("+")[0])[:3])


def _durability(store: Store) -> Iterator[CheckResult]:
    for text in store.durability_warnings:
        reason, colon, action = text.rpartition(": ")
        action = f"{action[0].upper()}{action[1:]}." if colon else "Use a file or a server, e.g. sqlite:///sidelane.db."
        yield warning("durability", f"The store may lose jobs: {reason if colon else text}.", action)
    if not store.durability_warnings:
        yield ok("durability", "No setting is known that could lose acknowledged jobs.")


def _unusable(message: str, action: str) -> list[Found]:
    return [error("store", message, action), *(LeftOut(each, "the store cannot be used") for each in DEPENDENT)]


def _action(reason: SidelaneError) -> str:
    if isinstance(reason, MissingExtra):
        return "Install the package, or name another store in SIDELANE_STORE."
    return "Correct SIDELANE_STORE, or what the message names, and run this again."
