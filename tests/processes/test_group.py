"""Process groups with real processes: start, death, replacement, scaling, limits, stop."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sidelane.processes import group as group_module
from sidelane.processes.exit_code import Exit
from sidelane.processes.group import GroupOptions, ProcessGroup, RestartFailed
from sidelane.processes.ready_check import ReadyCheck
from tests.contract.servers import free_port
from tests.system.processes import alive
from tests.system.waiting import until

PROGRAM = Path(__file__).with_name("member_program.py")

TIMEOUT = 30.0

Make = Callable[..., ProcessGroup]


def options(mode: str | Path = "ready", **changes: Any) -> GroupOptions:
    command = (sys.executable, str(PROGRAM), str(mode))
    return GroupOptions(**{"name": "g", "kind": "worker", "command": command, "stop_timeout": 20.0, **changes})


def program(code: str, **changes: Any) -> GroupOptions:
    """Return a group of a program that does not report."""
    command = (sys.executable, "-u", "-c", code)
    return GroupOptions(**{"name": "g", "kind": "command", "command": command, "stop_first": True, **changes})


@asynccontextmanager
async def running(chosen: GroupOptions) -> AsyncIterator[ProcessGroup]:
    group = ProcessGroup(chosen, host="host")
    task = asyncio.create_task(group.run())
    try:
        yield group
    finally:
        group.stop()
        async with asyncio.timeout(TIMEOUT):
            await task


@asynccontextmanager
async def ready(chosen: GroupOptions) -> AsyncIterator[ProcessGroup]:
    async with running(chosen) as group:
        await until(lambda: group.document()["state"] == "ready", "all processes are ready", within=TIMEOUT)
        yield group


def pids(group: ProcessGroup) -> set[int]:
    return {process["pid"] for process in group.document()["processes"]}


def ready_processes(group: ProcessGroup) -> int:
    return sum(process["state"] == "ready" for process in group.document()["processes"])


async def collect(steps: AsyncIterator[str]) -> list[str]:
    return [step async for step in steps]


@pytest.fixture(autouse=True)
def short_delays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "MIN_DELAY", 0.05)
    monkeypatch.setattr(group_module, "MAX_DELAY", 0.1)


async def test_group_starts_its_processes_with_different_names() -> None:
    async with ready(options(processes=3)) as group:
        names = [process["name"] for process in group.document()["processes"]]
    assert sorted(names) == ["g-1@host", "g-2@host", "g-3@host"]


async def test_killed_process_is_started_again_and_its_end_is_reported() -> None:
    async with ready(options(processes=2)) as group:
        before = pids(group)
        os.kill(min(before), signal.SIGKILL)
        await until(lambda: len(pids(group) - before) == 1 and group.document()["state"] == "ready", "restarted")
        document = group.document()
    assert document["restarts"] == 1
    assert document["last_exit"]["reason"] == "signal SIGKILL"
    assert document["error"] is None, "all processes are ready again"


async def test_restart_replaces_each_process_and_keeps_all_of_them_ready() -> None:
    async with ready(options(processes=2)) as group:
        before = pids(group)
        counts = [ready_processes(group) async for _ in group.restart()]
        await until(lambda: not pids(group) & before, "the old processes have ended")
        assert len(pids(group)) == 2
    assert min(counts) >= 2
    assert group.document()["restarts"] == 0, "a replacement is no death"


async def test_restart_with_a_process_that_cannot_start_keeps_the_old_ones(tmp_path: Path) -> None:
    mode = tmp_path / "mode"
    mode.write_text("ready")
    async with ready(options(mode, processes=2)) as group:
        before = pids(group)
        mode.write_text("1")
        with pytest.raises(RestartFailed, match="exited before it was ready"):
            await collect(group.restart())
        await until(lambda: pids(group) == before, "only the old processes run")
        assert group.document()["error"] is not None
        mode.write_text("ready")
        await collect(group.restart())
        assert group.document()["error"] is None


async def test_replacement_that_does_not_become_ready_in_time_is_ended(tmp_path: Path) -> None:
    mode = tmp_path / "mode"
    mode.write_text("ready")
    async with ready(options(mode, ready_timeout=1.0)) as group:
        before = pids(group)
        mode.write_text("never-ready")
        with pytest.raises(RestartFailed, match="was not ready within 1 s"):
            await collect(group.restart())
        await until(lambda: pids(group) == before, "only the old process runs")


async def test_stop_first_never_runs_two_processes() -> None:
    async with ready(options(stop_first=True)) as group:
        (before,) = pids(group)
        async for _ in group.restart():
            assert len(pids(group)) == 1
        assert not alive(before)
        assert pids(group) != {before}


async def test_process_is_replaced_after_its_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "TICK", 0.05)
    async with ready(options("works", max_jobs=2)) as group:
        (before,) = pids(group)
        await until(lambda: before not in pids(group), "it is replaced", within=TIMEOUT)
        assert group.document()["restarts"] == 0


async def test_process_is_replaced_after_its_lifetime(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "TICK", 0.05)
    async with ready(options(max_lifetime=1.0)) as group:
        (before,) = pids(group)
        await until(lambda: before not in pids(group), "it is replaced", within=TIMEOUT)


async def test_process_that_uses_too_much_memory_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(group_module, "TICK", 0.05)
    monkeypatch.setattr("sidelane.processes.member.MIN_AGE", 1.0)
    async with running(options(max_memory=1_000_000)) as group:
        await until(lambda: pids(group), "it has started")
        (before,) = pids(group)
        await until(lambda: before not in pids(group), "it is replaced", within=TIMEOUT)
        assert group.document()["restarts"] == 0


async def test_scale_starts_and_drains_processes_and_is_remembered(tmp_path: Path) -> None:
    file = tmp_path / "g.scale"
    async with ready(options(processes=1, scale_file=str(file))) as group:
        assert await collect(group.scale(3)) != []
        assert len(pids(group)) == 3
        await collect(group.scale(2))
        await until(lambda: len(pids(group)) == 2, "one has ended")
    async with ready(options(processes=1, scale_file=str(file))) as group:
        assert len(pids(group)) == 2


async def test_first_start_with_a_configuration_error_is_not_repeated(caplog: pytest.LogCaptureFixture) -> None:
    group = ProcessGroup(options("3", processes=2), host="host")
    assert await asyncio.wait_for(group.run(), TIMEOUT) == Exit.CONFIGURATION
    assert "cannot start (exit status 3)" in caplog.text


async def test_group_gives_up_after_failed_starts_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    group = ProcessGroup(options("1"), host="host")
    assert await asyncio.wait_for(group.run(), TIMEOUT) == Exit.GAVE_UP
    assert f"gives up: {group_module.MAX_FAILURES} starts in a row failed" in caplog.text


async def test_program_that_does_not_exist_is_a_configuration_error() -> None:
    group = ProcessGroup(options(command=("/does/not/exist",)), host="host")
    assert await asyncio.wait_for(group.run(), TIMEOUT) == Exit.CONFIGURATION


async def test_process_that_ignores_the_signal_is_killed_after_the_stop_timeout() -> None:
    group = ProcessGroup(options("stubborn", stop_timeout=0.2), host="host")
    task = asyncio.create_task(group.run())
    await until(lambda: group.document()["state"] == "ready", "it is ready", within=TIMEOUT)
    group.stop()
    assert await asyncio.wait_for(task, TIMEOUT) == 128 + signal.SIGKILL


async def test_group_with_a_blocked_process_is_ready_by_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidelane.processes.member.LIVE_TIMEOUT", 2.0)
    async with ready(options(processes=2)) as group:
        stopped = min(pids(group))
        os.kill(stopped, signal.SIGSTOP)
        try:
            await until(lambda: group.document()["state"] == "degraded", "one is blocked", within=TIMEOUT)
            assert (group.health().live, group.health().ready) == (True, True)
            errors = {process["pid"]: process["error"] for process in group.document()["processes"]}
            assert "blocked" in errors[stopped]
        finally:
            os.kill(stopped, signal.SIGCONT)


@pytest.mark.parametrize(
    "check", [ReadyCheck(log="listening"), ReadyCheck(delay=0.05), ReadyCheck()], ids=["log", "delay", "none"]
)
async def test_program_becomes_ready_by_its_check(check: ReadyCheck, capfd: pytest.CaptureFixture[str]) -> None:
    code = "import time; print('starting'); print('listening'); time.sleep(60)"
    async with ready(program(code, ready=check)) as group:
        assert [process["state"] for process in group.document()["processes"]] == ["ready"]
    if check.log:
        assert "starting\nlistening\n" in capfd.readouterr().out, "the output is copied"


async def test_program_that_serves_becomes_ready_by_tcp_and_http() -> None:
    port = free_port()
    code = f"from http.server import *; HTTPServer(('127.0.0.1', {port}), SimpleHTTPRequestHandler).serve_forever()"
    for check in (ReadyCheck(tcp=("127.0.0.1", port)), ReadyCheck(http=f"http://127.0.0.1:{port}/")):
        async with ready(program(code, ready=check)):
            pass


async def test_program_without_an_answer_is_not_ready() -> None:
    check = ReadyCheck(http=f"http://127.0.0.1:{free_port()}/")
    async with running(program("import time; time.sleep(60)", ready=check)) as group:
        await until(lambda: len(pids(group)) == 1, "it runs")
        await asyncio.sleep(0.5)
        assert group.document()["state"] == "starting"
