"""Start of a service: checks first, then its groups in the order of their dependencies, each until it is ready."""

import asyncio
import json
import os
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from sidelane.model.errors import ConfigurationError, NoSupervisor, SidelaneError
from sidelane.ops.log_files import last_lines
from sidelane.ops.programs import Program
from sidelane.ops.progress import Progress
from sidelane.ops.selection import order, select
from sidelane.ops.state import StateDirectory, end_processes, find_processes, stale_pid
from sidelane.ops.supervisor import (
    LogLimits,
    ProcessInfo,
    SupervisorClient,
    check_installed,
    configuration_text,
    launch_document,
    running_supervisor,
    start_supervisor,
)
from sidelane.processes import control
from sidelane.processes.exit_code import Exit
from sidelane.processes.listen import open_listener

POLL_INTERVAL = 0.1
"""Seconds between two looks at the groups. supervisord and the parents send no hint when a state changes."""

CONTROL_TIMEOUT = 0.5
"""Seconds for the answer of a parent about its state."""

SCALE_TIMEOUT = 600.0

READY_MARGIN = 10.0
"""Seconds that a parent gets beyond its own `ready_timeout`, so that it can end and say why itself."""

MAX_STARTS = 3
"""Starts of a parent that ends by itself before it is ready."""

STORE_TIMEOUT = 2.0

LOG_LINES = 20
"""Lines of the log of a group that failed."""

EXITS = {
    Exit.USAGE: "its options were refused",
    Exit.CONFIGURATION: "it cannot start",
    Exit.GAVE_UP: "its processes ended again and again, so it gave up",
}
"""What an exit code of a parent means."""


class SupervisorEnded(SidelaneError):
    """The supervisor ended while the service was starting."""


@dataclass(slots=True, kw_only=True)
class _Start:
    """The start of one program. `fresh` is false if it ran before."""

    began: float
    log_size: int
    fresh: bool
    pid: int = 0
    starts: int = 0


class Up:
    """Starts programs, or what is missing of them, and waits until each is ready."""

    def __init__(
        self,
        state: StateDirectory,
        programs: Sequence[Program],
        names: Sequence[str],
        progress: Progress,
        *,
        limits: LogLimits = LogLimits(),  # noqa: B008 - it is frozen
    ) -> None:
        self._state = state
        self.programs = programs
        self._all = not names
        self._selected = {each.name: each for each in select(programs, names)}
        self._progress = progress
        self._limits = limits
        self._client = SupervisorClient(state)
        self._starts: dict[str, _Start] = {}
        self._failed: set[str] = set()

    def run(self) -> bool:
        """Start the programs. Return whether all are ready.

        Raises `ConfigurationError` before anything is started, if something cannot work, and `AlreadyAtWork`.
        """
        check_installed()
        prepare(self._state, self.programs, self._progress)
        with self._state.lock("sidelane up"):
            found = running_supervisor(self._state)
            if found is None:
                repair(self._state, self._progress)
                self.check({})
                self.write()
                start_supervisor(self._state)
            else:
                self.check(found.programs())
                self._apply_changes(found.programs())
            return self.start()

    @property
    def started(self) -> frozenset[str]:
        """The names of the programs that were chosen."""
        return frozenset(self._selected)

    def check(self, current: Mapping[str, ProcessInfo]) -> None:
        """Raise `ConfigurationError` if an address is taken, except by a program that runs. Warn about the store."""
        taken: list[str] = []
        for program in self._selected.values():
            if program.name in current and current[program.name].running:
                continue
            for address in (program.address, program.health):
                try:
                    if address is not None:
                        open_listener(*address).close()
                except ConfigurationError as error:
                    taken.append(f"{program.name}: {error}")
        if taken:
            raise ConfigurationError(" ".join(taken) + " Nothing was started.")
        environments = [each.environment for each in self._selected.values() if each.kind != "command"]
        if environments and (warning := store_warning(environments[0])):
            self._progress.warn(warning)

    def start(self) -> bool:
        """Start the selected programs under the running supervisor. Return whether all are ready."""
        waiting = dict(self._selected)
        ready: set[str] = set()
        try:
            while waiting:
                states = self._step(waiting, ready)
                self._progress.waiting(states)
                if waiting:
                    time.sleep(POLL_INTERVAL)
        except NoSupervisor as error:
            raise SupervisorEnded(
                f"The supervisor in {self._state.path} ended while the service was starting. Its log is "
                f"{self._state.supervisor_log}. Run `sidelane up` again, which repairs what it left."
            ) from error
        return not self._failed

    def _step(self, waiting: dict[str, Program], ready: set[str]) -> dict[str, str]:
        """Start what can start, look at what has started, and take what is finished out of `waiting`. Return the states."""
        current = self._client.programs()
        states: dict[str, str] = {}
        for name, program in list(waiting.items()):
            missing = [each for each in program.depends_on if each in self._selected and each not in ready]
            if broken := [each for each in missing if each in self._failed]:
                self._fail(name, f"{name} was not started, because {broken[0]} is not ready.", waiting)
            elif missing:
                states[name] = f"waits for {', '.join(missing)}"
            elif current[name].state == "STOPPING":
                states[name] = "stopping"
            elif name not in self._starts:
                self._begin(program, current[name])
                states[name] = "starting"
            else:
                states[name] = self._look(program, current[name], waiting, ready)
        return {name: state for name, state in states.items() if name in waiting}

    def _begin(self, program: Program, info: ProcessInfo) -> None:
        log = self._state.log(program.name)
        fresh = not info.running
        size = log.stat().st_size if fresh and log.exists() else 0
        self._starts[program.name] = _Start(began=time.monotonic(), log_size=size, fresh=fresh)
        if fresh:
            self._client.start(program.name)

    def _look(self, program: Program, info: ProcessInfo, waiting: dict[str, Program], ready: set[str]) -> str:
        """Look at a program that was started, and return its state."""
        name, start = program.name, self._starts[program.name]
        if info.pid and info.pid != start.pid:
            start.pid, start.starts = info.pid, start.starts + 1
        is_ready, state = self._ready(name)
        waited = time.monotonic() - start.began
        if is_ready:
            ready.add(name)
            del waiting[name]
            if start.fresh:
                self._progress.report(f"{name} is ready after {waited:.1f} s")
        elif info.ended:
            self._fail(name, _end_text(info), waiting)
        elif start.starts > MAX_STARTS:
            self._stop(name)
            self._fail(name, f"{name} ended {MAX_STARTS} times before it was ready, so it was stopped.", waiting)
        elif waited > program.ready_timeout + READY_MARGIN:
            self._fail(
                name,
                f"{name} was not ready within {program.ready_timeout:g} s ({state}). It goes on starting; raise its "
                "ready_timeout if it needs longer.",
                waiting,
            )
        return state

    def _ready(self, name: str) -> tuple[bool, str]:
        document = control_status(self._state, name)
        if document is None:
            return False, "starting"
        count, target = sum(each.get("state") == "ready" for each in document["processes"]), document["target"]
        state = str(document["state"])
        is_ready = state == "ready" or (state == "restarting" and count >= target)
        return is_ready, f"{state}, {count} of {target} ready"

    def _fail(self, name: str, text: str, waiting: dict[str, Program]) -> None:
        del waiting[name]
        self._failed.add(name)
        start = self._starts.get(name)
        if start is None:
            self._progress.fail(text)
            return
        lines, _ = last_lines(self._state.log(name), LOG_LINES, since=start.log_size)
        if lines:
            text += f" The last lines of its log ({self._state.log(name)}):"
        self._progress.fail(text, tuple(lines))

    def write(self, outputs: Mapping[str, Path] = MappingProxyType({})) -> None:
        """Write the files that a new supervisor reads. `outputs` is where programs write instead of to their log files."""
        self._write_configuration()
        for program in self.programs:
            document = launch_document(self._state, program, outputs.get(program.name))
            self._state.write(self._state.launch_file(program.name), document)

    def _write_configuration(self) -> None:
        text = configuration_text(self._state, self.programs, order(self.programs), self._limits)
        self._state.write(self._state.configuration, text)

    def _apply_changes(self, current: Mapping[str, ProcessInfo]) -> None:
        """Let the running supervisor know what was added, changed or removed."""
        self._write_configuration()
        added, changed, removed = self._client.reload()
        for name in added:
            self._client.add(name)
        for name in removed if self._all else ():
            self._progress.report(f"{name} is no longer in the description; it is stopped")
            self._stop(name)
            self._client.remove(name)
            self._forget(name)
        for program in self.programs:
            info = current.get(program.name)
            running = info is not None and info.running
            if program.name not in self._selected and running:
                continue
            self._apply(program, running=running, changed=program.name in changed)

    def _apply(self, program: Program, *, running: bool, changed: bool) -> None:
        """Write how a program starts, and stop it if that has changed, so that it starts anew."""
        name, path = program.name, self._state.launch_file(program.name)
        document = launch_document(self._state, program)
        what = _difference(path.read_text("utf-8") if path.exists() else "{}", document)
        if running and what == "processes" and not changed and program.autoscaled:
            self._progress.report(f"{name} keeps its number of processes, which is autoscaled")
        elif running and what == "processes" and not changed:
            self._progress.report(f"{name} gets {program.processes} processes, as the description says now")
            self._scale(program)
        elif running and (what or changed):
            self._progress.report(f"{name} has changed ({what or 'how it is stopped'}); it is started anew")
            self._stop(name)
        elif running:
            self._progress.report(f"{name} is already running")
        if changed:
            self._stop(name)
            self._client.remove(name)
            self._client.add(name)
        self._state.write(path, document)

    def _scale(self, program: Program) -> None:
        request = {"command": "scale", "processes": program.processes}
        try:
            for answer in control.call(self._state.control_socket(program.name), request, timeout=SCALE_TIMEOUT):
                if "error" in answer:
                    self._progress.warn(f"{program.name}: {answer['error']}")
        except (OSError, ValueError) as error:
            self._progress.warn(f"{program.name} could not be asked to change its number of processes: {error}")

    def _stop(self, name: str) -> None:
        """Stop a program and wait for its end. Its own stop timeout bounds the wait."""
        while not (info := self._client.programs()[name]).ended:
            if info.running:
                self._client.stop(name)
            self._progress.waiting({name: info.state.lower()})
            time.sleep(POLL_INTERVAL)

    def _forget(self, name: str) -> None:
        for path in (self._state.scale_file(name), self._state.launch_file(name)):
            path.unlink(missing_ok=True)


def prepare(state: StateDirectory, programs: Sequence[Program], progress: Progress) -> None:
    """Create the state directory. Report if the sockets cannot be in it."""
    state.prepare(each.name for each in programs)
    if state.moved_sockets is not None:
        progress.report(f"the path {state.path} is too long for sockets; they are in {state.moved_sockets}")


def repair(state: StateDirectory, progress: Progress) -> None:
    """End what a supervisor that was killed left, and remove its files. The numbers of processes stay."""
    stale, leftovers = stale_pid(state), find_processes(state)
    if stale or leftovers:
        found = f"{len(leftovers)} of its processes still run and are ended now." if leftovers else ""
        progress.warn(f"the last supervisor here ended without stopping its programs. {stale or ''} {found}".rstrip())
    end_processes(leftovers)
    state.forget_sockets()


def control_status(state: StateDirectory, name: str, timeout: float = CONTROL_TIMEOUT) -> dict[str, Any] | None:
    """Return what the parent of a group says about its state, or None if it does not answer."""
    try:
        return next(control.call(state.control_socket(name), {"command": "status"}, timeout=timeout), None)
    except (OSError, ValueError):
        return None


def store_warning(environment: Mapping[str, str]) -> str | None:
    """Return a sentence if the store cannot be reached at the moment. The workers wait for it, so this is no error."""
    from sidelane.configuration import load_settings
    from sidelane.stores.factory import file_missing, open_store, redact_url

    url = load_settings({**os.environ, **environment}).settings.store
    if file_missing(url):
        return None

    async def reach() -> None:
        async with asyncio.timeout(STORE_TIMEOUT):
            store = await open_store(url)
            with suppress(SidelaneError):
                await store.stats()
            await store.close()

    try:
        asyncio.run(reach())
    except TimeoutError:
        return f"the store {redact_url(url)} did not answer within {STORE_TIMEOUT:g} s. Workers wait until it does."
    except SidelaneError as error:
        return f"the store {redact_url(url)} cannot be used: {error}"
    return None


def _end_text(info: ProcessInfo) -> str:
    if info.state == "FATAL" or (info.exit_status == 0 and info.error):
        return f"{info.name} could not be started: {info.error}."
    reason = EXITS.get(info.exit_status, "it ended")  # type: ignore[call-overload]
    return f"{info.name} failed: {reason} (exit status {info.exit_status})."


def _difference(before: str, after: str) -> str:
    """Return what differs between two launch documents, or "". "processes" means that nothing else differs."""
    old, new = json.loads(before), json.loads(after)
    if old.get("arguments") != new["arguments"] and _without_count(old) == _without_count(new):
        return "processes"
    return ", ".join(name for name in new if old.get(name) != new[name])


def _without_count(document: Mapping[str, Any]) -> list[Any]:
    arguments = list(document.get("arguments", ()))
    if "--processes" in arguments:
        del arguments[arguments.index("--processes") + 1]
    return [arguments, document.get("environment"), document.get("directory")]
