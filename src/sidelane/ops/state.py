"""State directory of a running service: its paths, its lock, and the processes that a killed supervisor left."""

import fcntl
import hashlib
import json
import os
import signal
import stat
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from sidelane.model.errors import ConfigurationError, SidelaneError
from sidelane.processes.usage import started_at

FOLDER = ".sidelane"

MARKER = "SIDELANE_SUPERVISED_IN"
"""Environment variable of the supervisor and of all that it starts: the state directory. Leftovers are found by it."""

STORE = "SIDELANE_STORE"
"""Environment variable of the store."""

MAX_SOCKET_PATH = 100
"""Bytes of the path of a Unix socket. The limit is 104 on macOS and 108 on Linux, with the ending 0."""

STOP_TIMEOUT = 10.0
"""Seconds that a leftover process has between SIGTERM and SIGKILL."""

POLL_INTERVAL = 0.05

HOLDER_ATTEMPTS = 20
"""Looks at a lock for the process that holds it."""


class AlreadyAtWork(SidelaneError):
    """Another command holds the lock of the state directory."""


@dataclass(frozen=True, slots=True)
class StateDirectory:
    """The folder of one running service. Only its owner may read it."""

    path: Path

    @property
    def configuration(self) -> Path:
        """The configuration of supervisord."""
        return self.path / "supervisord.conf"

    @property
    def supervisor_log(self) -> Path:
        return self.path / "supervisord.log"

    @property
    def pid_file(self) -> Path:
        return self.path / "supervisord.pid"

    @property
    def supervisor_socket(self) -> Path:
        return self.sockets("supervisord") / "supervisord.sock"

    @property
    def run(self) -> Path:
        return self.path / "run"

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    @property
    def lock_file(self) -> Path:
        return self.path / "up.lock"

    @property
    def socket_folder_record(self) -> Path:
        """The file that names the folder of the sockets if they are not in the state directory."""
        return self.path / "sockets"

    def control_socket(self, name: str) -> Path:
        """Return the control socket of a group."""
        return self.sockets(name) / f"{name}.sock"

    def scale_file(self, name: str) -> Path:
        """Return the file that keeps the number of processes of a group."""
        return self.run / f"{name}.scale"

    def launch_file(self, name: str) -> Path:
        """Return the file that describes how a group's parent is started."""
        return self.run / f"{name}.json"

    def log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    @property
    def moved_sockets(self) -> Path | None:
        """The folder of the sockets if the path of the state directory is too long for them."""
        try:
            return Path(self.socket_folder_record.read_text("utf-8"))
        except OSError:
            return None

    def sockets(self, name: str) -> Path:
        """Return the folder of the sockets: of supervisord, or of a group."""
        return self.moved_sockets or (self.path if name == "supervisord" else self.run)

    def prepare(self, names: Iterable[str]) -> None:
        """Create the folders for the groups with these names. Raises `ConfigurationError`, e.g. without permission."""
        try:
            for folder in (self.path, self.run, self.logs):
                folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.path.chmod(0o700)
            (self.path / ".gitignore").write_text("*\n", "utf-8")
            longest = max(len(os.fsencode(self.run / f"{name}.sock")) for name in [*names, "supervisord"])
            if longest > MAX_SOCKET_PATH and self.moved_sockets is None:
                folder = private_folder(self.path)
                _make_private(folder)
                self.socket_folder_record.write_text(str(folder), "utf-8")
            elif self.moved_sockets is not None:
                _make_private(self.moved_sockets)
        except OSError as error:
            raise unusable(self.path, error) from error

    @contextmanager
    def lock(self, command: str) -> Iterator[None]:
        """Hold the lock of the state directory. Raises `AlreadyAtWork`, which names the command that holds it."""
        descriptor = _open_locked(self.lock_file)
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {command}".encode(), 0)
            yield
        finally:
            with suppress(OSError):
                self.lock_file.unlink()
            os.close(descriptor)

    def write(self, path: Path, text: str) -> None:
        """Write a file as a whole, which only this user may read. Raises `ConfigurationError`, e.g. if the disk is full."""
        temporary = path.with_name(f"{path.name}.{os.getpid()}")
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            temporary.replace(path)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise unusable(self.path, error) from error

    def settings_source(self) -> tuple[dict[str, str], Path | None]:
        """Return the environment and the folder with which the service was started, of a group that names a store if any does.

        They are those of the current shell if nothing was started.
        """
        environment: dict[str, str] = {}
        folder: Path | None = None
        for path in sorted(self.run.glob("*.json")):
            with suppress(OSError, ValueError):
                document = json.loads(path.read_text("utf-8"))
                if folder is None or (STORE not in environment and STORE in document["environment"]):
                    environment, folder = document["environment"], Path(document["directory"])
        return {**os.environ, **environment}, folder

    def forget_sockets(self) -> None:
        """Remove the PID file and the sockets that a killed supervisor and killed parents left."""
        for path in [*self.run.glob("*.sock"), *self.sockets("supervisord").glob("*.sock*"), self.pid_file]:
            with suppress(OSError):
                path.unlink()

    def clean(self) -> None:
        """Remove what a running service keeps here. The logs stay."""
        self.forget_sockets()
        for path in self.run.glob("*"):
            with suppress(OSError):
                path.unlink()
        for folder in (self.moved_sockets, self.run):
            with suppress(OSError):
                if folder is not None:
                    folder.rmdir()
        for path in (self.socket_folder_record, self.configuration):
            with suppress(OSError):
                path.unlink()


def unusable(folder: Path, error: OSError) -> ConfigurationError:
    """Return the error for a state directory that cannot be written."""
    reason = f"{error.strerror} ({error.filename})" if error.filename else str(error.strerror)
    return ConfigurationError(
        f"The state directory {folder} cannot be used: {reason}. Free space there or change its permissions, or name another "
        "folder with --state-dir."
    )


def private_folder(path: Path) -> Path:
    """Return the folder in the system's temporary folder in which the sockets of a state directory are kept."""
    name = f"sidelane-{os.geteuid()}-{hashlib.sha256(os.fsencode(path)).hexdigest()[:12]}"
    temporary = tempfile.gettempdir()
    return Path(temporary if len(temporary) < MAX_SOCKET_PATH // 3 else "/tmp", name)  # noqa: S108 # nosec B108 - checked below


def _make_private(folder: Path) -> None:
    """Create a folder that only this user may use. Raises `ConfigurationError` if somebody else made it."""
    with suppress(FileExistsError):
        folder.mkdir(mode=0o700)
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise ConfigurationError(
            f"The folder {folder}, in which the sockets of this service are kept because the path of its state directory is "
            "too long, belongs to another user or is open to others. Remove it, or name a shorter folder with --state-dir."
        )


def _open_locked(path: Path) -> int:
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise unusable(path.parent, error) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(descriptor).st_ino == path.stat().st_ino:
                return descriptor
        except BlockingIOError:
            pid, _, command = _holder(descriptor).partition(" ")
            os.close(descriptor)
            raise AlreadyAtWork(
                f"`{command or 'sidelane'}` (PID {pid or 'unknown'}) is at work in {path.parent}. Wait until it ends, or "
                "end it with Ctrl-C, and repeat this command."
            ) from None
        except OSError:
            pass
        os.close(descriptor)  # the command that held the lock has removed the file


def _holder(descriptor: int) -> str:
    """Return the process id and the command that hold a lock. They are written just after the lock was taken."""
    for _ in range(HOLDER_ATTEMPTS):
        if holder := os.pread(descriptor, 200, 0).decode(errors="replace"):
            return holder
        time.sleep(POLL_INTERVAL)
    return ""


@dataclass(frozen=True, slots=True)
class Leftover:
    """A process of a service whose supervisor has ended. The start time tells it from a later process with the same id."""

    pid: int
    started: float
    title: str
    parent: int

    @property
    def alive(self) -> bool:
        return started_at(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Send a signal if the process is still the same one."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)


def find_processes(state: StateDirectory) -> list[Leftover]:
    """Return every process that the supervisor of this directory has started, itself included.

    They are found by an environment variable that a process passes on to its children. So a process whose parent was killed
    is found too, and a process that got an old id never is. This process and its ancestors are left out.
    """
    own = {os.getpid(), *(each.pid for each in psutil.Process().parents())}
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            if process.pid not in own and process.environ().get(MARKER) == str(state.path):
                started = started_at(process.pid)
                if started is not None:
                    found.append(Leftover(process.pid, started, _title(process), process.ppid()))
    return found


def end_processes(leftovers: Iterable[Leftover], timeout: float | None = None) -> None:
    """Ask processes to exit, and kill those that still run after `timeout` seconds, by default `STOP_TIMEOUT`.

    A process whose parent is among them gets no SIGTERM from here: its parent stops it, and a second signal would cost its jobs.
    """
    waiting, timeout = list(leftovers), STOP_TIMEOUT if timeout is None else timeout
    ids = {each.pid for each in waiting}
    for each in waiting:
        if each.parent not in ids:
            each.send(signal.SIGTERM)
    end = time.monotonic() + timeout
    while (waiting := [each for each in waiting if each.alive]) and time.monotonic() < end:
        time.sleep(POLL_INTERVAL)
    for each in waiting:
        each.send(signal.SIGKILL)
    while any(each.alive for each in waiting) and time.monotonic() < end + timeout:
        time.sleep(POLL_INTERVAL)


def stale_pid(state: StateDirectory) -> str | None:
    """Return a sentence about a PID file whose supervisor no longer runs, or None if there is none."""
    try:
        pid = int(state.pid_file.read_text("utf-8"))
        process = psutil.Process(pid)
        with suppress(psutil.AccessDenied):
            if process.environ().get(MARKER) == str(state.path):
                return None
        return f"{state.pid_file.name} names PID {pid}, which is another program now ({process.name()})."
    except FileNotFoundError:
        return None
    except (OSError, ValueError, psutil.Error):
        return f"{state.pid_file.name} names a process that has ended."


def _title(process: psutil.Process) -> str:
    return " ".join(process.cmdline()) or process.name()
