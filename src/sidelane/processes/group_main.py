"""The parent process of a group: `python -m sidelane.processes.group_main NAME`, with `ParentOptions` as JSON in the environment.

This process imports little, so that it stays small. Commands such as `sidelane worker --processes 4` become this process.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NoReturn

from sidelane.model.errors import ConfigurationError
from sidelane.processes import systemd
from sidelane.processes.child import exit_with_parent
from sidelane.processes.control import serve_control
from sidelane.processes.exit_code import Exit
from sidelane.processes.group import GroupOptions, ProcessGroup, RestartFailed
from sidelane.processes.health import serve_health
from sidelane.processes.listen import format_address, open_listener
from sidelane.processes.logs import LogOptions, log_to_stderr
from sidelane.processes.metrics import serve_metrics
from sidelane.processes.output import OutputPipe
from sidelane.processes.ready_check import ReadyCheck
from sidelane.processes.scale import MAX_PROCESSES

BIND_TIMEOUT = 10.0
"""Seconds to wait for an address that the children of a killed parent still hold."""

VARIABLE = "SIDELANE_GROUP"
"""The environment variable of the options. They are not arguments, so that `ps` shows the name of the group."""

logger = logging.getLogger("sidelane.processes.group_main")  # not "__main__"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParentOptions:
    """A group, and what its parent process offers: the address that its processes serve, health, metrics, the control socket.

    `with_supervisor` lets this process end when the process that started it ends, for any reason.
    """

    group: GroupOptions
    listen: tuple[str, int] | None = None
    health: tuple[str, int] | None = None
    metrics: tuple[str, int] | None = None
    control: str | None = None
    with_supervisor: bool = False
    log: LogOptions


def become_parent(options: ParentOptions) -> NoReturn:
    """Replace this process by the parent process of a group."""
    sys.stdout.flush()
    sys.stderr.flush()
    program = [sys.executable, "-P", "-m", "sidelane.processes.group_main", options.group.name]
    os.execve(sys.executable, program, {**os.environ, VARIABLE: json.dumps(asdict(options))})  # noqa: S606 - our own program


def main() -> None:
    options = _read(os.environ.pop(VARIABLE))
    exit_with_parent(os.getppid() if options.with_supervisor else None)
    log_to_stderr(options.log)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)
    _use_no_threads()
    try:
        status = asyncio.run(_run(options))
    except ConfigurationError as error:
        logger.critical("%s", error)
        status = Exit.CONFIGURATION
    sys.exit(status)


def _use_no_threads() -> None:
    """Wait for processes without a thread for each, as Python does from 3.12 on.

    The kernel tells a child of the death of its parent once for each thread that the child belongs to in turn (prctl(2)). A worker
    would take the second SIGTERM as the request to release its jobs.
    """
    if sys.version_info < (3, 12) and hasattr(os, "pidfd_open"):
        asyncio.set_child_watcher(asyncio.PidfdChildWatcher())


async def _run(options: ParentOptions) -> int:
    async with AsyncExitStack() as stack:
        listener = await _listen(options.listen, BIND_TIMEOUT if options.with_supervisor else 0.0)
        if listener is not None:
            stack.enter_context(listener)
        group = ProcessGroup(options.group, host=socket.gethostname(), listener=listener)
        parent = _Parent(group, OutputPipe())
        if options.health is not None:
            await stack.enter_async_context(serve_health(open_listener(*options.health), group.health))
        if options.metrics is not None:
            await stack.enter_async_context(serve_metrics(open_listener(*options.metrics), lambda: group.members))
        if options.control is not None:
            await stack.enter_async_context(serve_control(Path(options.control), parent.handle))
        parent.handle_signals()
        watchdog = asyncio.create_task(_notify_watchdog(group))
        try:
            return await group.run(on_ready=_on_ready)
        finally:
            watchdog.cancel()


class _Parent:
    """Signals and control commands of a group."""

    def __init__(self, group: ProcessGroup, output: OutputPipe) -> None:
        self._group = group
        self._output = output
        self._starter = os.getppid()
        self._restarting: set[asyncio.Task[None]] = set()

    def handle_signals(self) -> None:
        """SIGTERM, SIGINT and SIGQUIT stop the group, each passed on to the processes. SIGHUP replaces them one by one."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT):
            loop.add_signal_handler(number, self._stop, number)
        loop.add_signal_handler(signal.SIGHUP, self._restart)

    async def handle(self, request: Mapping[str, Any]) -> AsyncIterator[Mapping[str, Any]]:
        """Answer a request of the control socket."""
        match request:
            case {"command": "status"}:
                yield {**self._group.document(), "pid": os.getpid()}
                return
            case {"command": "autoscale", "processes": int(processes), "report": {"reason": str()} as report} if (
                0 <= processes <= MAX_PROCESSES
            ):
                self._group.autoscale(processes, report)
                yield {**self._group.document(), "pid": os.getpid()}
                return
            case {"command": "unpin"}:
                self._group.number.unpin()
                yield {"done": True}
                return
            case {"command": "restart"}:
                steps = self._group.restart()
            case {"command": "scale", "processes": int(processes)} if 0 <= processes <= MAX_PROCESSES:
                steps = self._group.scale(processes, pinned=request.get("pinned") is True)
            case _:
                commands = f"status, restart, scale and autoscale with processes from 0 to {MAX_PROCESSES}, unpin"
                yield {"error": f"Unknown command. Commands: {commands}."}
                return
        try:
            async for message in steps:
                logger.info("%s", message)
                yield {"message": message}
        except RestartFailed as error:
            yield {"error": str(error)}
        else:
            yield {"done": True}

    def _stop(self, number: int) -> None:
        systemd.notify(systemd.STOPPING)
        if os.getppid() != self._starter:
            self._output.discard()  # supervisord was killed, and read it until then
        self._group.stop(number)

    def _restart(self) -> None:
        if self._group.stopping:  # the kernel also sends SIGHUP, to a stopped process whose session has ended
            return
        task = asyncio.create_task(self._log_restart())
        self._restarting.add(task)
        task.add_done_callback(self._restarting.discard)

    async def _log_restart(self) -> None:
        async for answer in self.handle({"command": "restart"}):
            if "error" in answer:
                logger.error("%s", answer["error"])


def _on_ready() -> None:
    logger.info("all processes are ready")
    systemd.notify(systemd.READY)


async def _listen(address: tuple[str, int] | None, timeout: float) -> socket.socket | None:
    """Open the listening socket. The children of a killed parent hold its address until they have stopped accepting."""
    if address is None:
        return None
    deadline = asyncio.get_running_loop().time() + timeout
    while True:
        try:
            listener = open_listener(*address)
            logger.info("listening on http://%s", format_address(*listener.getsockname()[:2]))
            return listener
        except ConfigurationError:
            if asyncio.get_running_loop().time() > deadline:
                raise
        await asyncio.sleep(0.1)


async def _notify_watchdog(group: ProcessGroup) -> None:
    interval = systemd.watchdog_interval()
    while interval is not None:
        if group.health().live:
            systemd.notify(systemd.WATCHDOG)
        await asyncio.sleep(interval)


def _read(text: str) -> ParentOptions:
    values = json.loads(text)
    group = values.pop("group")
    ready = group.pop("ready")
    check = ReadyCheck(**{**ready, "tcp": tuple(ready["tcp"]) if ready["tcp"] else None})
    group["command"] = tuple(group["command"])
    for name in ("listen", "health", "metrics"):
        values[name] = tuple(values[name]) if values[name] else None
    log = LogOptions(**values.pop("log"))
    return ParentOptions(group=GroupOptions(ready=check, **group), log=log, **values)


if __name__ == "__main__":
    main()
