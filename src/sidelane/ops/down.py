"""Stop of a service: its groups in reverse order, each until its running jobs have ended or were given back."""

import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress

import psutil

from sidelane.model.errors import NoSupervisor, SupervisorError
from sidelane.ops.progress import Progress
from sidelane.ops.running_jobs import outcome_text, running_jobs
from sidelane.ops.selection import by_level, check_names
from sidelane.ops.state import StateDirectory, end_processes, find_processes, stale_pid
from sidelane.ops.supervisor import ProcessInfo, SupervisorClient, running_supervisor
from sidelane.ops.up import POLL_INTERVAL, control_status

RELEASE_TIMEOUT = 10.0
"""Seconds that a group has to give its running jobs back after the limit, before it is killed."""

EXIT_TIMEOUT = 30.0
"""Seconds that supervisord has to exit once its programs have stopped."""


class Down:
    """Stops groups, and the supervisor if no group is left."""

    def __init__(self, state: StateDirectory, progress: Progress, timeout: float | None = None) -> None:
        self._state = state
        self._progress = progress
        self._timeout = timeout
        self._client = SupervisorClient(state)

    def run(self, names: Sequence[str] = ()) -> bool:
        """Stop groups, by default all. Return whether every group stopped without being killed.

        Raises `UnknownGroup` and `AlreadyAtWork`.
        """
        if not self._state.path.exists():
            self._progress.report(f"nothing runs in {self._state.path}")
            return True
        with self._state.lock("sidelane down"):
            if running_supervisor(self._state) is None:
                self._clean_up()
                return True
            current, levels = self._client.programs(), self._client.levels()
            check_names(names, current)
            clean = self.stop_groups(names or current, levels)
            for name in names or current:
                self._state.scale_file(name).unlink(missing_ok=True)
            if all(each.ended for each in self._client.programs().values()):
                self.end_supervisor()
            return clean

    def stop_groups(self, names: Sequence[str] | Mapping[str, ProcessInfo], levels: Mapping[str, int]) -> bool:
        """Stop groups, those last on which others depend. Return whether none had to be killed."""
        clean = True
        current = self._client.programs()
        jobs = running_jobs(self._state, _descendants(current[name].pid for name in names))
        for together in by_level(names, levels):
            current = self._client.programs()
            running = [name for name in together if not current[name].ended]
            clean &= self._stop_together(running)
        if outcome := outcome_text(self._state, jobs):
            self._progress.report(outcome)
        return clean

    def end_supervisor(self) -> None:
        """End supervisord and remove what it kept here, except logs."""
        pid = self._client.pid()
        processes = [each for each in find_processes(self._state) if each.pid == pid]
        self._client.shut_down()
        end = time.monotonic() + EXIT_TIMEOUT
        while any(each.alive for each in processes) and time.monotonic() < end:
            time.sleep(POLL_INTERVAL / 2)
        end_processes(find_processes(self._state))  # what outlived its parent
        self._state.clean()

    def _stop_together(self, names: Sequence[str]) -> bool:
        began = time.monotonic()
        limit = None if self._timeout is None else began + self._timeout
        released: set[str] = set()
        killed: set[str] = set()
        waiting = list(names)
        while waiting:
            current = self._client.programs()
            now = time.monotonic()
            for name in list(waiting):
                if current[name].ended:
                    waiting.remove(name)
                    self._progress.report(f"{name} has stopped after {now - began:.1f} s")
                elif current[name].running:
                    self._client.stop(name)  # again, if it was about to be started after a crash
                elif limit is not None and now > limit and name not in released:
                    released.add(name)
                    self._client.signal(name, signal.SIGQUIT)
                elif limit is not None and now > limit + RELEASE_TIMEOUT and name not in killed:
                    killed.add(name)
                    self._progress.warn(f"{name} did not stop within {now - began:.0f} s; it is killed")
                    self._client.signal(name, signal.SIGKILL)
            self._progress.waiting({name: _jobs_left(self._running_jobs(name)) for name in waiting})
            if waiting:
                time.sleep(POLL_INTERVAL)
        return not killed

    def _running_jobs(self, name: str) -> int | None:
        document = control_status(self._state, name)
        if document is None or document.get("kind") != "worker":
            return None
        return sum(each.get("running") or 0 for each in document.get("processes", ()))

    def _clean_up(self) -> None:
        """Remove what a supervisor that has ended left."""
        leftovers = find_processes(self._state)
        if stale := stale_pid(self._state):
            self._progress.warn(f"the supervisor here ended without cleaning up. {stale}")
        if leftovers:
            self._progress.warn(f"{len(leftovers)} processes of a supervisor that was killed still run; they are ended")
            end_processes(leftovers, self._timeout or RELEASE_TIMEOUT)
        else:
            self._progress.report(f"nothing runs in {self._state.path}")
        self._state.clean()


def stop_service(state: StateDirectory, progress: Progress, timeout: float | None) -> bool:
    """Stop all groups and the supervisor, which is a child of this process. Return whether no group had to be killed."""
    down = Down(state, progress, timeout)
    client = SupervisorClient(state)
    try:
        clean = down.stop_groups(client.programs(), client.levels())
        client.shut_down()
    except NoSupervisor:
        return True  # it has stopped all by itself
    except SupervisorError:
        return True  # it is shutting down, in the same order
    return clean


def _descendants(pids: Iterable[int]) -> set[int]:
    """Return the ids of all processes below these."""
    found: set[int] = set()
    for pid in filter(None, pids):
        with suppress(psutil.Error):
            found |= {each.pid for each in psutil.Process(pid).children(recursive=True)}
    return found


def _jobs_left(running: int | None) -> str:
    if not running:
        return "stopping"
    return "waits for 1 job" if running == 1 else f"waits for {running:,} jobs"
