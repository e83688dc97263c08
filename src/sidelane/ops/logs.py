"""Log lines of groups: the last ones, then new ones as they are written, across rotations."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from sidelane.ops.log_files import CHUNK_SIZE, MAX_LINE_SIZE, last_lines, line_text
from sidelane.ops.selection import check_names
from sidelane.ops.state import StateDirectory

POLL_INTERVAL = 0.2
"""Seconds between two looks at files that may have grown."""

SUPERVISOR = "supervisord"
"""The name by which the supervisor's own log is shown."""

Line = tuple[str, str]
"""The name of a group and one line of its log."""


def known_logs(state: StateDirectory) -> dict[str, Path]:
    """Return the log files by the names of their groups."""
    found = {path.stem: path for path in sorted(state.logs.glob("*.log"))}
    if state.supervisor_log.exists():
        found[SUPERVISOR] = state.supervisor_log
    return found


def chosen_logs(state: StateDirectory, names: Sequence[str]) -> dict[str, Path]:
    """Return the log files of these groups, by default of all groups. Raises `UnknownGroup`."""
    logs = known_logs(state)
    check_names(names, logs)
    return {name: logs[name] for name in names or logs if names or name != SUPERVISOR}


def tail(path: Path, count: int) -> tuple[list[str], int]:
    """Return the last lines of a log and the size of its file. The file before the last rotation fills up what is missing."""
    lines, size = last_lines(path, count)
    if len(lines) < count:
        lines = last_lines(path.with_name(f"{path.name}.1"), count - len(lines))[0] + lines
    return lines, size


class Follower:
    """Reads what is appended to one log file. A file that was rotated is read to its end, then the new one."""

    def __init__(self, name: str, path: Path, offset: int = 0) -> None:
        self._name = name
        self._path = path
        self._rest = b""
        self._descriptor = self._open()
        if self._descriptor is not None:
            os.lseek(self._descriptor, offset, os.SEEK_SET)

    def read(self) -> Iterator[Line]:
        """Yield the complete lines that were written since the last call."""
        if self._descriptor is None:
            self._descriptor = self._open()
        yield from self._read_open_file()
        if self._replaced():
            yield from self._read_open_file()  # what was written between the two
            self.close()
            self._descriptor = self._open()
            yield from self._read_open_file()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _open(self) -> int | None:
        try:
            return os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def _replaced(self) -> bool:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            return False  # it is being rotated: look again later
        if self._descriptor is None:
            return False
        opened = os.fstat(self._descriptor)
        if found.st_ino == opened.st_ino and opened.st_size < os.lseek(self._descriptor, 0, os.SEEK_CUR):
            os.lseek(self._descriptor, 0, os.SEEK_SET)  # it was truncated
        return (found.st_dev, found.st_ino) != (opened.st_dev, opened.st_ino)

    def _read_open_file(self) -> Iterator[Line]:
        while self._descriptor is not None and (data := os.read(self._descriptor, CHUNK_SIZE)):
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                yield self._name, line_text(line)
            if len(self._rest) > MAX_LINE_SIZE:
                yield self._name, line_text(self._rest)
                self._rest = b""


def follow(state: StateDirectory, names: Sequence[str], count: int, show: Callable[[str, str], None]) -> None:
    """Show the last lines of logs, then new ones until interrupted. Without names, logs that appear later are shown too."""
    followers: dict[str, Follower] = {}
    first = True
    while True:
        logs = chosen_logs(state, names) if first or not names else {}
        for name, path in logs.items():
            if name not in followers:
                lines, size = tail(path, count) if first else ([], 0)
                for line in lines:
                    show(name, line)
                followers[name] = Follower(name, path, size)
        first = False
        for follower in followers.values():
            for each in follower.read():
                show(*each)
        time.sleep(POLL_INTERVAL)
