"""One SQLite database: how its connections are opened, and what is checked before anything is written."""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import apsw

from sidelane.model.errors import ConfigurationError, StoreMisconfigured, StoreUnavailable
from sidelane.stores.sqlite.errors import translate_errors
from sidelane.stores.sqlite.sql import scalar

OLDEST = (3, 51, 3)  # before it, several processes on one WAL file could corrupt it ("WAL reset" bug, fixed in 3.51.3)
SCHEMA = 4
APPLICATION = 0x53_44_4C_4E  # "SDLN", kept in the file's header

BUSY_TIMEOUT = 5.0  # seconds a writer waits for its turn among other processes
MEMORY = ":memory:"

_MIB = 1024 * 1024
_READ_WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE

T = TypeVar("T")


class Database:
    """The file `path` (or `:memory:`), from which connections are opened. `open_writer` comes first: it makes the schema."""

    def __init__(self, path: str, patience: float = BUSY_TIMEOUT) -> None:
        self.path = path
        self.patience = patience
        self.shared = path != MEMORY  # others can open it too
        self._file: tuple[int, int] | None = None  # which file on the disk was opened

    def open_writer(self) -> apsw.Connection:
        """Open the connection that writes, after checking that this SQLite and this file will do."""
        check_version(apsw.sqlite_lib_version())
        self._check_place()
        with translate_errors(self.path):
            connection = self._open(_READ_WRITE)
            try:
                retry_while_busy(lambda: self._prepare(connection), self.patience)
                self._tune(connection, cache_mib=16)
            except BaseException:
                connection.close()
                raise
        self._file = self._found()
        return connection

    def check_there(self) -> None:
        """Raise `StoreUnavailable` while the file is not where it was opened: what is written now, nobody would find again."""
        if self._file is not None and self._found() != self._file:
            raise StoreUnavailable(
                f"The file of the store {self.path} was moved or deleted while it was open: put it back, or restart what uses it."
            )

    def _found(self) -> tuple[int, int] | None:
        if not self.shared:
            return None
        try:
            found = os.stat(self.path)  # noqa: PTH116 - before every transaction, so the quickest way
        except OSError:
            return (0, 0)
        return found.st_dev, found.st_ino

    def open_reader(self) -> apsw.Connection:
        """Open a connection that only reads."""
        with translate_errors(self.path):
            connection = self._open(apsw.SQLITE_OPEN_READWRITE)
            retry_while_busy(lambda: self._tune(connection, cache_mib=4), self.patience)
            connection.pragma("query_only", True)
        return connection

    def _open(self, flags: int) -> apsw.Connection:
        connection = apsw.Connection(self.path, flags, statementcachesize=500)
        connection.set_busy_timeout(0)
        # This SQLite plans by statistics of values, so it would plan anew whenever a value changes: threefold the time.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        return connection

    def _check_place(self) -> None:
        folder = Path(self.path).parent
        if self.shared and not folder.is_dir():
            raise StoreMisconfigured(
                f"The folder of the store {self.path} does not exist: create it, or change SIDELANE_STORE."
            )

    def _prepare(self, connection: apsw.Connection) -> None:
        """Make the schema in an empty file; refuse a file that is not ours or newer than we are."""
        version = self._version(connection)
        if connection.readonly("main"):
            raise apsw.ReadOnlyError("the file may not be written")
        if self.shared and connection.pragma("journal_mode") != "wal":
            connection.pragma("journal_mode", "wal")
        if version:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not self._version(connection):  # another process may have been faster
                connection.execute(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
                connection.pragma("application_id", APPLICATION)
                connection.pragma("user_version", SCHEMA)
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise

    def _version(self, connection: apsw.Connection) -> int:
        version = int(connection.pragma("user_version"))
        tables = scalar(connection, "SELECT count(*) FROM sqlite_schema")
        if (version or tables) and connection.pragma("application_id") != APPLICATION:
            raise StoreMisconfigured(
                f"The file {self.path} belongs to another program: point SIDELANE_STORE at a file of its own."
            )
        if version > SCHEMA:
            raise StoreMisconfigured(
                f"The store {self.path} was written by a newer Sidelane (schema {version}; this one knows {SCHEMA}): "
                "upgrade this installation."
            )
        if 0 < version < SCHEMA:
            raise StoreMisconfigured(
                f"The store {self.path} was written by a Sidelane before the first release (schema {version}; this one knows "
                f"{SCHEMA}), which nothing upgrades: point SIDELANE_STORE at a new file."
            )
        return version

    def _tune(self, connection: apsw.Connection, *, cache_mib: int) -> None:
        connection.pragma("cache_size", -1024 * cache_mib)
        connection.pragma("temp_store", 2)  # memory
        if self.shared:
            connection.pragma("mmap_size", 256 * _MIB)
            connection.pragma("wal_autocheckpoint", 2000)  # pages, 8 MiB: few checkpoints, none of them long
            connection.pragma("journal_size_limit", 8 * _MIB)  # what a stall let the log grow to is given back


def check_version(found: str) -> None:
    """Refuse an SQLite that can corrupt what several processes write."""
    if tuple(map(int, found.split("."))) < OLDEST:
        needed = ".".join(map(str, OLDEST))
        raise ConfigurationError(
            f"SQLite {found} is too old for Sidelane, which needs {needed}: upgrade the package apsw."
        )


def roll_back(connection: apsw.Connection) -> None:
    """Give a transaction up, unless SQLite has already done so."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def retry_while_busy(step: Callable[[], T], patience: float) -> T:
    """Take a step that another process may block, again about every millisecond, until `patience` seconds are over.

    SQLite's own busy timeout starves some writers (two seconds and more among four); a short, jittered wait does not.
    """
    until = time.monotonic() + patience
    while True:
        try:
            return step()
        except apsw.BusyError:
            if time.monotonic() > until:
                raise
        time.sleep(random.uniform(0.0005, 0.0015))
