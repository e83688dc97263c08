"""info, vacuum, backup: the size of the file, the return of its free space, and an online copy."""

import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import apsw

from sidelane.model.errors import MaintenanceRefused, NotSupported, StoreMisconfigured
from sidelane.model.store_info import StoreInfo
from sidelane.stores.sqlite.connection import Database, retry_while_busy
from sidelane.stores.sqlite.errors import translate_errors
from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

BACKUP_STEP = 1024
"""Pages that a backup copies between two looks at whether it was cancelled: 4 MiB."""

LOCK_TIMEOUT = 30.0
"""Seconds that a vacuum waits until no other process writes."""

TEMPORARY_FOLDERS = ("/var/tmp", "/usr/tmp", "/tmp")  # noqa: S108 - where SQLite puts a temporary file # nosec B108

_SIDE_FILES = ("-wal", "-shm", "-journal")


def info(tx: Transaction, database: Database) -> StoreInfo:
    """Return the size of the file and how many jobs it has."""
    pages, free, page_size = (_pragma(tx, name) for name in ("page_count", "freelist_count", "page_size"))
    jobs, failed = tx.one(SQL.jobs)
    files = tuple(path for path in _paths(database) if Path(path).exists())
    return StoreInfo(
        kind="SQLite",
        version=apsw.sqlite_lib_version(),
        size=pages * page_size,
        free=free * page_size,
        jobs=jobs,
        failed=failed,
        files=files,
        disk_free=shutil.disk_usage(Path(database.path).parent).free if files else None,
        details={"write-ahead log": _size(f"{database.path}-wal")} if files else {},
    )


def vacuum(database: Database) -> None:
    """Rewrite the file without its free pages, then shorten it. Other processes cannot write meanwhile."""
    if not database.shared:
        raise NotSupported("This store is in memory, so it has no file to shrink.")
    database.check_file_unchanged()
    with translate_errors(database.path), closing(database.open_plain()) as connection:
        used, free = _used(connection)
        if not free:
            return
        _check_space_for_vacuum(database.path, used)
        retry_while_busy(lambda: connection.execute("VACUUM"), LOCK_TIMEOUT)
        retry_while_busy(lambda: _shorten(connection), LOCK_TIMEOUT)


def backup(database: Database, path: str, stopped: threading.Event, *, overwrite: bool) -> None:
    """Copy one snapshot of the database to a file, and check the copy. Other processes read and write meanwhile."""
    if not database.shared:
        raise NotSupported("This store is in memory, so there is no file to back up.")
    database.check_file_unchanged()
    target = Path(path)
    with _partial_file(target) as partial:
        _check_target(database.path, target, overwrite=overwrite)
        with translate_errors(database.path), closing(database.open_plain()) as source:
            _copy(source, partial, stopped)
        _check_copy(partial)
        _sync(partial)
        if not overwrite:
            _reserve(target)
        partial.replace(target)
        _sync(target.parent)


def _copy(source: apsw.Connection, partial: Path, stopped: threading.Event) -> None:
    source.execute("BEGIN")
    used, free = _used(source)  # the first read fixes the snapshot, so that writers never make the copy start again
    _require_space(partial.parent, used + free, "the backup")
    with (
        closing(apsw.Connection(str(partial), apsw.SQLITE_OPEN_READWRITE)) as copy,
        copy.backup("main", source, "main") as steps,
    ):
        while not steps.done:
            if stopped.is_set():
                raise MaintenanceRefused("The backup was cancelled.")
            steps.step(BACKUP_STEP)


def _check_copy(partial: Path) -> None:
    with translate_errors(str(partial)), closing(apsw.Connection(str(partial))) as copy:
        found = copy.execute("PRAGMA quick_check(1)").get
    if found != "ok":
        raise StoreMisconfigured(
            f"The copy is damaged ({found}), so there is no backup. Check the disk, and the store itself with `PRAGMA quick_check`."
        )


def _check_target(store: str, target: Path, *, overwrite: bool) -> None:
    if target.is_dir():
        raise MaintenanceRefused(f"{target} is a folder: name a file in it, e.g. {target / 'sidelane-backup.db'}.")
    if target.exists() and target.samefile(store):
        raise MaintenanceRefused(f"{target} is the store itself: name another file.")
    if target.exists() and not overwrite:
        raise _exists(target)
    if any(Path(f"{target}{suffix}").exists() for suffix in _SIDE_FILES):
        raise MaintenanceRefused(
            f"{target} is a database that a process uses, or used until it crashed, because a log file is beside it. Name another "
            "file."
        )


@contextmanager
def _partial_file(target: Path) -> Iterator[Path]:
    """Create a file beside the target that only its owner may read. It is removed unless the block renames it."""
    if not target.parent.is_dir():
        raise MaintenanceRefused(f"The folder {target.parent} does not exist: create it, or name another file.")
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        yield partial
    except OSError as error:
        raise MaintenanceRefused(
            f"The backup {target} cannot be written: {error.strerror}. Name a file in a folder that this user may write to."
        ) from error
    finally:
        for suffix in ("", *_SIDE_FILES):
            with suppress(OSError):
                Path(f"{partial}{suffix}").unlink()


def _reserve(target: Path) -> None:
    """Create the target, so that a file which another process has created meanwhile is not replaced."""
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL, 0o600))
    except FileExistsError:
        raise _exists(target) from None


def _exists(target: Path) -> MaintenanceRefused:
    return MaintenanceRefused(
        f"The file {target} exists and was not changed: name another file, or overwrite it with --force."
    )


def _check_space_for_vacuum(path: str, used: int) -> None:
    """Require space for the rewritten database twice: in a temporary file, then in the log beside the file."""
    folder, temporary = Path(path).parent, _temporary_folder()
    if folder.stat().st_dev == temporary.stat().st_dev:
        _require_space(folder, 2 * used, "a vacuum")
    else:
        _require_space(folder, used, "a vacuum")
        _require_space(temporary, used, "a vacuum")


def _require_space(folder: Path, needed: int, what: str) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MaintenanceRefused(
            f"There is not enough space for {what}: {folder} has {free / 1e6:,.0f} MB free, and {needed / 1e6:,.0f} MB are needed. "
            "Free some space there. Nothing was changed."
        )


def _temporary_folder() -> Path:
    named = (os.environ.get("SQLITE_TMPDIR"), os.environ.get("TMPDIR"), *TEMPORARY_FOLDERS)
    return next((Path(each) for each in named if each and os.access(each, os.W_OK) and Path(each).is_dir()), Path.cwd())


def _used(connection: apsw.Connection) -> tuple[int, int]:
    """Return the bytes of used and of free pages."""
    size, pages, free = (int(connection.pragma(name)) for name in ("page_size", "page_count", "freelist_count"))
    return (pages - free) * size, free * size


def _shorten(connection: apsw.Connection) -> None:
    """Write the log back to the file, which then ends after its last page."""
    busy, _, _ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone() or (0, 0, 0)
    if busy:
        raise apsw.BusyError("another process reads the log")


def _pragma(tx: Transaction, name: str) -> int:
    return int(tx.scalar(f"PRAGMA {name}"))


def _paths(database: Database) -> tuple[str, ...]:
    return (database.path, f"{database.path}-wal", f"{database.path}-shm") if database.shared else ()


def _size(path: str) -> int:
    try:
        return Path(path).stat().st_size
    except FileNotFoundError:
        return 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
