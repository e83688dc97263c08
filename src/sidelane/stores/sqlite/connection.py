"""Connections to one SQLite database, its schema, and the checks before anything is written."""

import os
import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import apsw

from sidelane.model.errors import ConfigurationError, StoreMisconfigured, StoreUnavailable
from sidelane.stores.sqlite.errors import translate_errors

MIN_VERSION = (3, 51, 3)  # older ones can corrupt a WAL file that several processes write ("WAL reset" bug)
SCHEMA = 11
APPLICATION_ID = 0x53_44_4C_4E  # "SDLN", in the header of the file

BUSY_TIMEOUT = 5.0  # seconds to wait for a lock of another process
MEMORY = ":memory:"

_MIB = 1024 * 1024
_READ_WRITE = apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE

T = TypeVar("T")


class Database:
    """The file `path` (or `:memory:`) and its connections. Call `open_writer` first, because it creates the schema."""

    def __init__(self, path: str, busy_timeout: float = BUSY_TIMEOUT) -> None:
        self.path = path
        self.busy_timeout = busy_timeout
        self.shared = path != MEMORY  # whether other connections can open it
        self._file: tuple[int, int] | None = None  # device and inode of the opened file

    def open_writer(self) -> apsw.Connection:
        """Check the version of SQLite and the file, then open the writing connection."""
        check_version(apsw.sqlite_lib_version())
        self._check_folder()
        with translate_errors(self.path):
            self._create_file()
            connection = self._open(_READ_WRITE)
            try:
                retry_while_busy(lambda: self._prepare(connection), self.busy_timeout)
                self._tune(connection, cache_mib=16)
            except BaseException:
                connection.close()
                raise
        self._file = self._identity()
        return connection

    def check_file_unchanged(self) -> None:
        """Raise `StoreUnavailable` if the file was moved or deleted, because writes to it would be lost."""
        if self._file is not None and self._identity() != self._file:
            raise StoreUnavailable(
                f"The file of the store {self.path} was moved or deleted while it was open: restore it, or restart the "
                "processes that use it."
            )

    def _identity(self) -> tuple[int, int] | None:
        if not self.shared:
            return None
        try:
            status = os.stat(self.path)  # noqa: PTH116 - the fastest way, because it precedes every transaction
        except OSError:
            return (0, 0)
        return status.st_dev, status.st_ino

    def open_reader(self) -> apsw.Connection:
        """Open a read-only connection."""
        with translate_errors(self.path):
            connection = self._open(apsw.SQLITE_OPEN_READWRITE)
            retry_while_busy(lambda: self._tune(connection, cache_mib=4), self.busy_timeout)
            connection.pragma("query_only", True)
        return connection

    def open_plain(self) -> apsw.Connection:
        """Open a connection for work on the file as a whole, without the settings of stores."""
        with translate_errors(self.path):
            return self._open(apsw.SQLITE_OPEN_READWRITE)

    def _open(self, flags: int) -> apsw.Connection:
        connection = apsw.Connection(self.path, flags, statementcachesize=500)
        connection.set_busy_timeout(0)
        # Without a stable plan SQLite prepares a statement again whenever a bound value changes: three times as slow.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        return connection

    def _check_folder(self) -> None:
        folder = Path(self.path).parent
        if self.shared and not folder.is_dir():
            raise StoreMisconfigured(
                f"The folder of the store {self.path} does not exist: create it, or change SIDELANE_STORE."
            )

    def _create_file(self) -> None:
        """Create the file for its owner alone; SQLite gives the log beside it the same mode. An existing file keeps its mode."""
        if self.shared:
            with suppress(OSError):  # it exists, or SQLite finds out why it cannot be created
                os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))

    def _prepare(self, connection: apsw.Connection) -> None:
        """Create the schema in an empty file. Refuse the file of another program or another schema version."""
        version = self._version(connection)
        if connection.readonly("main"):
            raise apsw.ReadOnlyError("the file may not be written")
        if self.shared and connection.pragma("journal_mode") != "wal":
            connection.pragma("journal_mode", "wal")
        if version:
            return
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not self._version(connection):  # another process may have created it meanwhile
                connection.execute(Path(__file__).with_name("schema.sql").read_text(encoding="utf-8"))
                connection.pragma("application_id", APPLICATION_ID)
                connection.pragma("user_version", SCHEMA)
            connection.execute("COMMIT")
        except BaseException:
            roll_back(connection)
            raise

    def _version(self, connection: apsw.Connection) -> int:
        version = int(connection.pragma("user_version"))
        tables = connection.execute("SELECT count(*) FROM sqlite_schema").get
        if (version or tables) and connection.pragma("application_id") != APPLICATION_ID:
            raise StoreMisconfigured(
                f"The file {self.path} belongs to another program: point SIDELANE_STORE at a file of its own."
            )
        if version > SCHEMA:
            raise StoreMisconfigured(
                f"The store {self.path} was written by a newer Sidelane (schema {version}; this one supports {SCHEMA}): "
                "upgrade this installation."
            )
        if 0 < version < SCHEMA:
            raise StoreMisconfigured(
                f"The store {self.path} was written by a Sidelane before the first release (schema {version}; this one supports "
                f"{SCHEMA}) and cannot be upgraded: point SIDELANE_STORE at a new file."
            )
        return version

    def _tune(self, connection: apsw.Connection, *, cache_mib: int) -> None:
        connection.pragma("cache_size", -1024 * cache_mib)
        connection.pragma("temp_store", 2)  # memory
        if self.shared:
            connection.pragma("mmap_size", 256 * _MIB)
            connection.pragma("wal_autocheckpoint", 2000)  # pages, 8 MiB: few and short checkpoints
            connection.pragma("journal_size_limit", 8 * _MIB)  # truncates a log that grew during a stall


def check_version(found: str) -> None:
    """Refuse a version of SQLite that can corrupt a file that several processes write."""
    if tuple(map(int, found.split("."))) < MIN_VERSION:
        needed = ".".join(map(str, MIN_VERSION))
        raise ConfigurationError(
            f"SQLite {found} is too old for Sidelane, which needs {needed}: upgrade the package apsw."
        )


def roll_back(connection: apsw.Connection) -> None:
    """Roll a transaction back, unless SQLite has already done so."""
    if connection.in_transaction:
        connection.execute("ROLLBACK")


def retry_while_busy(step: Callable[[], T], timeout: float) -> T:
    """Repeat a step about every millisecond while another process holds the lock, for at most `timeout` seconds.

    SQLite's own busy timeout starves some writers, for over two seconds with four writers. A short, jittered wait does not.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return step()
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.0005, 0.0015))
