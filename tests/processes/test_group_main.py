"""The parent of a group runs as a program: it serves a control socket and a health port, and handles signals and systemd."""

import asyncio
import json
import os
import signal
import socket
import stat
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from sidelane.processes.control import MAX_REQUEST_SIZE
from sidelane.processes.exit_code import Exit
from sidelane.processes.group_main import VARIABLE, ParentOptions
from sidelane.processes.logs import LogOptions
from tests.contract.servers import free_port
from tests.processes.running_group import TIMEOUT, RunningGroup
from tests.processes.test_group import options
from tests.system.processes import ROOT, alive
from tests.system.waiting import until


class Parent(RunningGroup):
    """A parent process of a test."""

    def __init__(self, process: asyncio.subprocess.Process, control: Path) -> None:
        super().__init__(control)
        self.process = process

    async def end(self) -> int:
        return await asyncio.wait_for(self.process.wait(), TIMEOUT)


@asynccontextmanager
async def parent(folder: Path, *, environment: dict[str, str] | None = None, **changes: Any) -> AsyncIterator[Parent]:
    control = folder / "g.sock"
    log = LogOptions(name="g", level="INFO")
    chosen = ParentOptions(**{"group": options(processes=2), "control": str(control), "log": log, **changes})
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", "sidelane.processes.group_main", "g",
        env={**os.environ, "PYTHONPATH": str(ROOT / "src"), VARIABLE: json.dumps(asdict(chosen)), **(environment or {})},
    )  # fmt: skip
    try:
        yield Parent(process, control)
    finally:
        if process.returncode is None:
            process.terminate()
            await asyncio.wait_for(process.wait(), TIMEOUT)


async def test_control_socket_scales_restarts_and_reports(tmp_path: Path) -> None:
    async with parent(tmp_path) as group:
        await group.ready()
        assert (group.status["name"], group.status["kind"], group.status["pid"]) == ("g", "worker", group.process.pid)
        before = group.pids
        assert await asyncio.to_thread(group.call, command="scale", processes=3) != []
        assert len(group.pids) == 3
        answers = await asyncio.to_thread(group.call, command="restart")
        assert answers[-1] == {"done": True}
        await until(lambda: not group.pids & before, "the old processes have ended", within=TIMEOUT)


async def test_a_pinned_number_stays_until_it_is_unpinned(tmp_path: Path) -> None:
    report = {"reason": "chat: 20/s of 0.5 s need 14 slots", "wanted": 3}
    scale_file = tmp_path / "g.scale"
    chosen = options(processes=1, scale_file=str(scale_file))
    async with parent(tmp_path, group=chosen) as group:
        await group.ready()
        (state,) = group.call(command="autoscale", processes=2, report=report)
        assert (state["target"], state["pinned"], state["autoscale"]) == (2, False, report)
        await group.ready()
        await asyncio.to_thread(group.call, command="scale", processes=1, pinned=True)
        (state,) = group.call(command="autoscale", processes=3, report=report)
        assert (state["target"], state["pinned"]) == (1, True)
        assert scale_file.read_text() == "1 pinned\n"
    async with parent(tmp_path, group=chosen) as group:  # it outlives the parent
        await group.ready()
        assert group.status["pinned"]
        assert group.call(command="unpin") == [{"done": True}]
        (state,) = group.call(command="autoscale", processes=2, report=report)
        assert (state["target"], state["pinned"]) == (2, False)
        await group.ready()


async def test_control_socket_is_for_its_owner_and_disappears_with_the_parent(tmp_path: Path) -> None:
    async with parent(tmp_path) as group:
        await group.ready()
        assert stat.S_IMODE(group.control.stat().st_mode) == 0o600
        group.process.terminate()
        assert await group.end() == 0
    assert not group.control.exists()


@pytest.mark.parametrize(
    "line",
    [b"status\n", b"[]\n", b"\xff\n", b"[" * 10_000 + b"\n", b'"' + b"x" * MAX_REQUEST_SIZE + b'"\n', b"\n"],
    ids=["no JSON", "no object", "no UTF-8", "deep", "long", "empty"],
)
async def test_control_socket_answers_a_malformed_request_with_an_error(tmp_path: Path, line: bytes) -> None:
    async with parent(tmp_path) as group:
        await group.ready()
        reader, writer = await asyncio.open_unix_connection(group.control)
        writer.write(line)
        answer = json.loads(await asyncio.wait_for(reader.readline(), TIMEOUT))
        writer.close()
        assert "not a JSON object" in answer["error"]
        assert group.status["state"] == "ready"


@pytest.mark.parametrize("request_", [{"command": "stop"}, {"command": "scale", "processes": -1}, {"command": "scale"}])
async def test_unknown_command_is_refused_with_the_known_ones(tmp_path: Path, request_: dict[str, Any]) -> None:
    async with parent(tmp_path) as group:
        await group.ready()
        (answer,) = group.call(**request_)
        assert "Commands: status, restart, scale" in answer["error"]


async def test_restart_goes_on_if_its_client_disconnects(tmp_path: Path) -> None:
    async with parent(tmp_path) as group:
        await group.ready()
        before = group.pids
        reader, writer = await asyncio.open_unix_connection(group.control)
        writer.write(b'{"command": "restart"}\n')
        assert b"replacing" in await asyncio.wait_for(reader.readline(), TIMEOUT)
        writer.close()
        await until(lambda: len(group.pids) == 2 and not group.pids & before, "replaced", within=TIMEOUT)


async def test_hangup_replaces_the_processes(tmp_path: Path) -> None:
    async with parent(tmp_path) as group:
        await group.ready()
        before = group.pids
        group.process.send_signal(signal.SIGHUP)
        await until(lambda: len(group.pids) == 2 and not group.pids & before, "replaced", within=TIMEOUT)


async def test_processes_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    async with parent(tmp_path) as group:
        await group.ready()
        children = group.pids
        group.process.kill()
        await group.end()
        await until(lambda: not any(map(alive, children)), "the processes have ended", within=TIMEOUT)
    async with parent(tmp_path) as successor:
        await successor.ready()  # in place of the socket that was left


async def test_port_in_use_is_a_configuration_error_that_names_its_holder(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        async with parent(tmp_path, listen=holder.getsockname()[:2]) as group:
            assert await group.end() == Exit.CONFIGURATION
    assert f"(PID {os.getpid()}) uses it" in capfd.readouterr().err


async def test_health_port_in_use_is_a_configuration_error(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        async with parent(tmp_path, health=holder.getsockname()[:2]) as group:
            assert await group.end() == Exit.CONFIGURATION


async def test_parent_of_a_supervisor_waits_for_a_port_that_is_being_released(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        address = holder.getsockname()[:2]
        async with parent(tmp_path, listen=address, with_supervisor=True) as group:
            await until(lambda: group.process.returncode is None, "it runs")
            holder.close()
            await group.ready()


async def test_health_port_is_not_ready_before_the_processes_are(tmp_path: Path) -> None:
    port = free_port()
    chosen = options("never-ready", processes=1)
    async with parent(tmp_path, group=chosen, health=("127.0.0.1", port)) as group:
        await until(lambda: group.pids, "a process runs", within=TIMEOUT)
        assert (await get(port, "/health/live"), await get(port, "/health/ready")) == (200, 503)


@pytest.mark.parametrize(
    "data", [b"\r\n\r\n", b"GET\r\n\r\n", b"x" * 100_000, b"GET /health HTTP/1.1\r\n" * 5_000], ids=len
)
async def test_health_port_survives_requests_that_are_none(tmp_path: Path, data: bytes) -> None:
    port = free_port()
    async with parent(tmp_path, health=("127.0.0.1", port)) as group:
        await group.ready()
        with suppress(OSError):
            _, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(data)
            await writer.drain()
            writer.close()
        assert await get(port, "/health/ready") == 200


async def test_metrics_port_has_the_figures_of_each_process_together(tmp_path: Path) -> None:
    port = free_port()
    async with parent(tmp_path, metrics=("127.0.0.1", port)) as group:
        await group.ready()
        for path, status in (("/metrics", 200), ("/metrics?x=1", 200), ("/health", 404)):
            assert await get(port, path) == status
        head, _, body = (await answer(port, "/metrics")).partition("\r\n\r\n")
        assert "content-type: text/plain; version=0.0.4" in head
        names = sorted(each["name"] for each in group.status["processes"])
        first, second, *samples = body.splitlines()
        assert (first, second) == ("# HELP runs Runs.", "# TYPE runs gauge")
        assert sorted(samples) == [f'runs{{process="{name}"}} 1.0' for name in names]


async def test_metrics_leave_out_a_process_whose_event_loop_is_blocked(tmp_path: Path) -> None:
    port = free_port()
    async with parent(tmp_path, group=options("one-blocked", processes=2), metrics=("127.0.0.1", port)) as group:
        await group.ready()
        answers = await asyncio.gather(*(answer(port, "/metrics") for _ in range(3)))
        assert {each.count("runs{") for each in answers} == {1}


async def test_metrics_port_in_use_is_a_configuration_error(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as holder:
        async with parent(tmp_path, metrics=holder.getsockname()[:2]) as group:
            assert await group.end() == Exit.CONFIGURATION
    assert f"(PID {os.getpid()}) uses it" in capfd.readouterr().err


async def test_systemd_is_notified_of_readiness_the_watchdog_and_the_stop(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(TIMEOUT)
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "200000"}
        async with parent(tmp_path, environment=environment) as group:
            for state in (b"READY=1", b"WATCHDOG=1"):
                await received(manager, state)
            group.process.terminate()
            await received(manager, b"STOPPING=1")
            assert await group.end() == 0


async def received(manager: socket.socket, state: bytes) -> None:
    """Wait until systemd has received a state, after others perhaps. Raises TimeoutError."""
    async with asyncio.timeout(TIMEOUT):
        while await asyncio.to_thread(manager.recv, 100) != state:
            pass


async def get(port: int, path: str) -> int:
    """Return the status of an answer."""
    return int((await answer(port, path)).split()[1])


async def answer(port: int, path: str) -> str:
    """Return an answer with its headers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(f"GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n".encode())
    received = await asyncio.wait_for(reader.read(), TIMEOUT)
    writer.close()
    return received.decode()
