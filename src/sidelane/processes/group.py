"""Process group: equal processes that their parent process keeps running, replaces and scales."""

import asyncio
import itertools
import logging
import math
import signal
import socket
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from sidelane.processes.exit_code import SIGNAL_BASE, Exit, describe_exit
from sidelane.processes.health import Health
from sidelane.processes.member import Limits, Member, start_member
from sidelane.processes.ready_check import ReadyCheck
from sidelane.processes.scale import Scale
from sidelane.processes.usage import out_of_memory_kills

MIN_DELAY, MAX_DELAY = 0.5, 30.0
"""Seconds before a process that died is started again, which are doubled with each failure in a row, up to the maximum."""

STABLE_AFTER = 60.0
"""Seconds after which a process counts as healthy, so that the next restart is not delayed further."""

MAX_FAILURES = 8
"""Failures in a row after which the group gives up, if none of its processes is ready."""

TICK, SAMPLES_PER_TICK = 1.0, 2
"""Seconds between two looks at the limits of the processes, and looks between two measurements of memory and CPU."""

REPLACEMENT_RETRY = 60.0
"""Seconds until the next attempt to replace a process over its limits, after a replacement did not become ready."""

FATAL_EXITS = frozenset({Exit.USAGE, Exit.CONFIGURATION})
"""Exit statuses of a process that would exit in the same way after a restart."""

REQUESTED_EXITS = frozenset({SIGNAL_BASE + signal.SIGTERM, SIGNAL_BASE + signal.SIGINT, SIGNAL_BASE + signal.SIGQUIT})
"""Exit statuses of a process that a signal stopped before it could handle the signal, so that no job was lost."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupOptions:
    """A process group: `command` starts one process.

    `stop_first` replaces a process only after it has exited, because two cannot run at once. The processes of `api` and `worker`
    groups report their state; a `command` is any other program, which `ready` checks. Durations are in seconds, memory in bytes.
    """

    name: str
    kind: str
    command: tuple[str, ...]
    processes: int = 1
    max_jobs: int | None = None
    max_lifetime: float | None = None
    max_memory: int | None = None
    stop_first: bool = False
    ready: ReadyCheck = field(default_factory=ReadyCheck)
    ready_timeout: float = 120.0
    stop_timeout: float | None = None
    scale_file: str | None = None

    @property
    def reports(self) -> bool:
        return self.kind != "command"


class ProcessGroup:
    """Keeps a `number` of `members` running until `stop`. `host` is part of their names; they inherit the `listener`."""

    def __init__(self, options: GroupOptions, *, host: str, listener: socket.socket | None = None) -> None:
        self.name = options.name
        self._options = options
        self._host = host
        self._listener = listener
        self.number = Scale.load(options.scale_file, options.processes)
        self._autoscale: Mapping[str, Any] | None = None  # the last report of the autoscaler
        self.members: list[Member] = []
        self._pending = 0  # processes that are about to start
        self._numbers = itertools.count(1)
        self._replacing = asyncio.Lock()
        self._wake = asyncio.Event()
        self._result: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self.stopping = False
        self._statuses: list[int] = []  # of the processes that exited after `stop`
        self._gave_up: int | None = None  # the exit status of a group that cannot run
        self._failures = 0
        self._not_before = -math.inf  # the next start of a process
        self._replace_after = -math.inf  # the next replacement of a process over its limits
        self._was_ready = False
        self._tasks: set[asyncio.Task[Any]] = set()
        self._lost: list[dict[str, str]] = []  # workers that died, for a ready process to report to the store
        self._started = time.time()
        self._restarts = 0
        self._last_exit: dict[str, Any] | None = None
        self._error: str | None = None  # why processes are missing
        self._restart_error: str | None = None  # why the last restart or replacement failed

    async def run(self, on_ready: Callable[[], None] = lambda: None) -> int:
        """Run until stopped or given up, and return the exit status. `on_ready` is called when all processes are ready."""
        watching = asyncio.create_task(self._watch(on_ready))
        try:
            return await self._result
        finally:
            watching.cancel()
            for task in self._tasks:
                task.cancel()

    def stop(self, number: int = signal.SIGTERM) -> None:
        """Send all processes a signal, and end when they have exited. May be called again, e.g. with another signal."""
        self.stopping = True
        for member in self.members:
            member.draining = True
            member.signal(number)
        if self._options.stop_timeout is not None:
            asyncio.get_running_loop().call_later(self._options.stop_timeout, self._kill_all)
        self._end_if_empty()

    async def restart(self) -> AsyncIterator[str]:
        """Replace each process that runs now by a new one. Yields progress.

        Raises `RestartFailed` if a replacement does not become ready. Then the remaining processes are not replaced.
        """
        requested = time.monotonic()
        async with self._replacing:
            for member in [each for each in self._active if each.began < requested]:
                if member in self.members and not member.draining:
                    yield f"replacing {member.name}"
                    new = await self._replace(member)
                    yield f"{new.name} is ready; {member.name} finishes its work"
        self._restart_error = None

    def autoscale(self, processes: int, report: Mapping[str, Any]) -> None:
        """Change the number of processes at once, unless it is pinned or processes are being replaced. Keep the report."""
        self._autoscale = report
        if processes != self.number.processes and not self.number.pinned and not self._replacing.locked():
            logger.info("%d processes instead of %d: %s", processes, self.number.processes, report["reason"])
            self._change_scale(processes)

    async def scale(self, processes: int, *, pinned: bool = False) -> AsyncIterator[str]:
        """Change the number of processes, also for the autoscaler if `pinned`. Yields progress until the new ones are ready."""
        async with self._replacing:
            for member in self._change_scale(processes, pinned=pinned):
                yield f"{member.name} finishes its work"
        deadline = time.monotonic() + self._options.ready_timeout
        reported = {member.name for member in self._active if member.is_ready}
        while sum(member.is_ready for member in self._active) < processes:
            if self.stopping:
                raise RestartFailed(f"The group stops: {self._error or 'it was asked to'}.")
            if time.monotonic() > deadline:
                raise RestartFailed(f"Not all processes were ready within {self._options.ready_timeout:g} s.")
            await asyncio.sleep(0.1)
            for member in self._active:
                if member.is_ready and member.name not in reported:
                    reported.add(member.name)
                    yield f"{member.name} is ready"

    def document(self) -> dict[str, Any]:
        """Return the state of the group and of each process."""
        state = self._state
        return {
            "name": self.name, "kind": self._options.kind, "started": self._started, "state": state, "restarts": self._restarts,
            "error": (None if state == "ready" else self._error) or self._restart_error, "autoscale": self._autoscale,
            "target": self.number.processes, "pinned": self.number.pinned, "last_exit": self._last_exit,
            "processes": [member.document() for member in self.members],
        }  # fmt: skip

    def health(self) -> Health:
        """Return whether at least one process is live, and ready. During the first start the group counts as live."""
        live = any(member.live for member in self.members) or not self._was_ready
        return Health(live, any(member.is_ready for member in self.members), self.document())

    @property
    def _active(self) -> list[Member]:
        return [member for member in self.members if not member.draining]

    @property
    def _state(self) -> str:
        if self.stopping:
            return "stopping"
        if self._replacing.locked():
            return "restarting"
        if sum(member.is_ready for member in self._active) >= self.number.processes:
            return "ready"
        if not self._was_ready:
            return "starting"
        only_new = all(member.is_ready or not member.ready.is_set() for member in self._active)
        return "scaling" if only_new and self._error is None else "degraded"

    async def _watch(self, on_ready: Callable[[], None]) -> None:
        for tick in itertools.count():
            self._start_missing()
            if self._state == "ready":
                if not self._was_ready:
                    on_ready()
                self._was_ready, self._error = True, None
            if tick % SAMPLES_PER_TICK == 0:
                for member in self.members:
                    member.sample()
            self._report_lost_workers()
            self._replace_over_limits()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), TICK)
            self._wake.clear()

    def _start_missing(self) -> None:
        counted = [member for member in self._active if not member.is_replacement]
        missing = self.number.processes - len(counted) - self._pending
        if missing > 0 and not self.stopping and time.monotonic() >= self._not_before:
            self._pending += missing
            for _ in range(missing):
                self._spawn(self._start())

    async def _start(self, *, is_replacement: bool = False) -> Member:
        """Start one of the pending processes."""
        options = self._options
        limits = Limits(max_jobs=options.max_jobs, max_lifetime=options.max_lifetime, max_memory=options.max_memory)
        try:
            member, parent_end = await start_member(
                f"{options.name}-{next(self._numbers)}@{self._host}", options.command, limits=limits, reports=options.reports,
                listener=None if self._listener is None else self._listener.fileno(), reads_output=options.ready.log is not None,
            )  # fmt: skip
        except OSError as error:
            self._pending -= 1
            self._on_start_failed(error)
            raise RestartFailed(f"The program cannot be started: {error}") from error
        self._pending -= 1
        member.is_replacement = is_replacement
        self.members.append(member)
        self._spawn(self._wait_exit(member))
        self._spawn(
            member.check_ready(options.ready, self._wake.set)
            if parent_end is None
            else member.read_reports(parent_end, self._wake.set)
        )
        if self.stopping:
            member.draining = True
            member.signal(signal.SIGTERM)
        return member

    async def _wait_exit(self, member: Member) -> None:
        kills = out_of_memory_kills()
        status = await member.wait(self._wake.set)
        reason = describe_exit(status)
        if status == SIGNAL_BASE + signal.SIGKILL and out_of_memory_kills() > kills:
            reason += ", out of memory"
        self.members.remove(member)
        if self.stopping:
            self._statuses.append(status)
            self._end_if_empty()
        elif member.draining:
            logger.info("%s has stopped", member.name)
        else:
            self._on_death(member, status, reason)

    def _on_death(self, member: Member, status: int, reason: str) -> None:
        """Count a process that died, and decide when the next one starts."""
        self._last_exit = {"process": member.name, "reason": reason, "at": time.time()}
        if (worker := member.report.get("worker")) and status not in {Exit.DONE, *REQUESTED_EXITS}:
            self._lost.append({"worker": worker, "reason": reason})
        if not self._was_ready and status in FATAL_EXITS:
            return self._give_up(status, f"{member.name} cannot start ({reason}); its message is above")
        if member.is_replacement and not member.ready.is_set():
            return None  # `_replace` reports it
        self._restarts += 1
        self._failures = 1 if member.ready.is_set() and member.age > STABLE_AFTER else self._failures + 1
        never_ready = not member.ready.is_set() and not any(each.is_ready for each in self.members)
        if never_ready and self._failures >= MAX_FAILURES:
            return self._give_up(
                Exit.GAVE_UP, f"gives up: {self._failures} starts in a row failed, the last by {reason}"
            )
        self._delay_start(f"{member.name} died ({reason})")
        return None

    def _on_start_failed(self, error: OSError) -> None:
        problem = f"cannot start {self._options.command[0]}: {error.strerror}"
        if not self._was_ready:
            return self._give_up(Exit.CONFIGURATION, problem)
        self._failures += 1
        self._delay_start(problem)
        return None

    def _delay_start(self, error: str) -> None:
        delay = min(MIN_DELAY * 2 ** (self._failures - 1), MAX_DELAY)
        self._error, self._not_before = error, time.monotonic() + delay
        logger.error("%s; another process starts in %g s", error, delay)
        asyncio.get_running_loop().call_later(delay, self._wake.set)

    def _give_up(self, status: int, reason: str) -> None:
        logger.critical("group %s %s", self.name, reason)
        self._error, self._gave_up = reason, status
        self.stop()

    def _replace_over_limits(self) -> None:
        if self.stopping or self._replacing.locked() or time.monotonic() < self._replace_after:
            return
        for member in self._active:
            reason = member.exceeded_limit()
            if reason is not None and member.ready.is_set():
                self._spawn(self._replace_one(member, reason))
                return

    async def _replace_one(self, member: Member, reason: str) -> None:
        async with self._replacing:
            if member not in self.members or member.draining:
                return
            logger.info("%s is replaced: %s", member.name, reason)
            try:
                await self._replace(member)
            except RestartFailed as error:
                self._replace_after = time.monotonic() + REPLACEMENT_RETRY
                logger.error("%s is not replaced: %s", member.name, error)

    async def _replace(self, member: Member) -> Member:
        """Start a new process, and drain the old one when the new one is ready; the reverse with `stop_first`."""
        self._pending += 1
        if self._options.stop_first:
            member.drain(self._options.stop_timeout)
            await member.exited.wait()
        new = await self._start(is_replacement=not self._options.stop_first)
        problem = await new.wait_ready(self._options.ready_timeout)
        if problem is not None:
            if new.is_replacement:
                new.draining = True
                new.kill()
            self._restart_error = f"{new.name}, which should replace {member.name}, {problem}"
            raise RestartFailed(f"{self._restart_error}. The other processes keep running. See the log.")
        new.is_replacement = False
        member.drain(self._options.stop_timeout)
        return new

    def _change_scale(self, processes: int, *, pinned: bool = False) -> list[Member]:
        """Change the number of processes, and return those that stop therefore: the ones with the fewest jobs or requests."""
        self.number.change(processes, pinned=pinned)
        by_jobs = sorted(self._active, key=lambda member: member.report.get("running") or 0)
        surplus = by_jobs[: max(0, len(by_jobs) - processes)]
        for member in surplus:
            member.drain(self._options.stop_timeout)
        self._wake.set()
        return surplus

    def _report_lost_workers(self) -> None:
        reporter = next((member for member in self.members if member.is_ready), None)
        if reporter is not None:
            for lost in self._lost:
                reporter.send({"lost": lost})
            self._lost.clear()

    def _kill_all(self) -> None:
        for member in self.members:
            logger.error("%s did not stop in time and is killed", member.name)
            member.kill()

    def _end_if_empty(self) -> None:
        if self.stopping and not self.members and not self._pending and not self._result.done():
            statuses = (Exit.DONE if status in REQUESTED_EXITS else status for status in self._statuses)
            self._result.set_result(max(statuses, default=Exit.DONE) if self._gave_up is None else self._gave_up)

    def _spawn(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_done)

    def _on_task_done(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, RestartFailed):
            logger.error("internal error in group %s", self.name, exc_info=error)


class RestartFailed(Exception):
    """A new process of a group did not become ready."""
