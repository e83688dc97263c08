"""Service in the foreground, for containers: output with prefixes instead of log files, and a stop by SIGTERM."""

import os
import selectors
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sidelane.model.errors import ConfigurationError, NoSupervisor
from sidelane.ops.down import stop_service
from sidelane.ops.log_files import CHUNK_SIZE, MAX_LINE_SIZE, line_text
from sidelane.ops.progress import Progress
from sidelane.ops.state import StateDirectory, end_processes, find_processes
from sidelane.ops.supervisor import START_TIMEOUT, SupervisorClient, running_supervisor, start_in_foreground
from sidelane.ops.up import POLL_INTERVAL, Up, prepare, repair
from sidelane.processes.exit_code import describe_exit

WATCH_INTERVAL = 1.0
"""Seconds between two looks at the groups once all are ready."""

STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)

Show = Callable[[str, str], None]
"""Shows a line of a group."""


class StopRequested(BaseException):
    """A signal asks this process to stop. No `except Exception` may keep it."""


def run_foreground(up: Up, state: StateDirectory, show: Show, progress: Progress, timeout: float | None) -> bool:
    """Run a service until a signal or the end of a group stops it. Return whether it started and stopped without an error.

    Raises `ConfigurationError` before anything is started, and `AlreadyAtWork`.
    """
    prepare(state, up.programs, progress)
    with state.lock("sidelane up --foreground"), _signals_raise():
        if running_supervisor(state) is not None:
            raise ConfigurationError(
                f"A supervisor already runs in {state.path}. Stop it with `sidelane down`, or name another folder with "
                "--state-dir."
            )
        repair(state, progress)
        up.check({})
        with Output(state, [each.name for each in up.programs], show) as output:
            up.write(output.paths)
            process = start_in_foreground(state)
            output.start()  # after the supervisor, because a process with threads should not fork
            try:
                well = _run_until_stopped(up, state, process, progress, timeout)
            finally:
                end_processes(find_processes(state))  # none is left, unless something went wrong
                process.wait()
        state.clean()
    return well


def _run_until_stopped(
    up: Up, state: StateDirectory, process: "subprocess.Popen[str]", progress: Progress, timeout: float | None
) -> bool:
    """Run the groups, and stop them. Return whether all went well. A second signal ends the stop early."""
    try:
        try:
            well = _run(up, state, process, progress)
        except StopRequested:
            progress.report("stopping; running jobs may end first")
            well = True
        well &= stop_service(state, progress, timeout)
        process.wait()
    except StopRequested:
        return False
    return well


def _run(up: Up, state: StateDirectory, process: "subprocess.Popen[str]", progress: Progress) -> bool:
    """Start the groups and watch them. Return False once a group or the supervisor has ended by itself."""
    client = SupervisorClient(state)
    _wait_for_supervisor(state, process)
    if not up.start():
        return False
    progress.report("all groups are ready")
    while process.poll() is None:
        with suppress(NoSupervisor):
            for info in client.programs().values():
                if info.ended and info.name in up.started:
                    progress.fail(f"{info.name} ended with exit status {info.exit_status}; all groups are stopped.")
                    return False
        time.sleep(WATCH_INTERVAL)
    progress.fail(f"the supervisor ended ({describe_exit(process.returncode)}).")
    return False


def _wait_for_supervisor(state: StateDirectory, process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + START_TIMEOUT
    while running_supervisor(state) is None:
        if process.poll() is not None or time.monotonic() > end:
            raise ConfigurationError(f"The supervisor did not start. Its log is {state.supervisor_log}.")
        time.sleep(POLL_INTERVAL)


class Output:
    """Named pipes to which programs write, read by a thread that shows each line with the name of its group."""

    def __init__(self, state: StateDirectory, names: list[str], show: Show) -> None:
        self.paths: dict[str, Path] = {name: state.run / f"{name}.out" for name in names}
        self._show = show
        self._selector = selectors.DefaultSelector()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> "Output":
        for name, path in self.paths.items():
            path.unlink(missing_ok=True)
            os.mkfifo(path, 0o600)
            # open for writing too, so that the pipe does not end while no program has it open
            descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self._selector.register(descriptor, selectors.EVENT_READ, (name, bytearray()))
        return self

    def start(self) -> None:
        """Start to show what the programs write."""
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()
        for key in list(self._selector.get_map().values()):
            os.close(key.fd)
        self._selector.close()

    def _read(self) -> None:
        """Show lines until the programs have ended and all that they wrote is read."""
        while (events := self._selector.select(POLL_INTERVAL)) or not self._stopping.is_set():
            for key, _ in events:
                name, rest = key.data
                with suppress(BlockingIOError):
                    rest += os.read(key.fd, CHUNK_SIZE)
                self._show_lines(name, rest)
        for key in self._selector.get_map().values():
            name, rest = key.data
            if rest:
                self._show(name, line_text(bytes(rest)))

    def _show_lines(self, name: str, rest: bytearray) -> None:
        *lines, last = rest.split(b"\n")
        for line in lines:
            self._show(name, line_text(bytes(line)))
        rest[:] = last
        if len(rest) > MAX_LINE_SIZE:
            self._show(name, line_text(bytes(rest)))
            rest.clear()


@contextmanager
def _signals_raise() -> Iterator[None]:
    def stop(number: int, frame: object) -> None:
        raise StopRequested

    before = {number: signal.signal(number, stop) for number in STOP_SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
