"""Memory, CPU and start time of processes, and the kernel's count of processes that it killed for lack of memory."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sidelane.processes import usage


def test_start_time_tells_a_process_from_one_that_has_ended() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    started = usage.started_at(process.pid)
    assert started is not None
    assert started == usage.started_at(process.pid)
    assert started >= (usage.started_at(os.getpid()) or 0)
    process.kill()
    assert process.stdin is not None
    process.stdin.close()
    process.wait()
    assert usage.started_at(process.pid) is None
    assert (usage.memory(process.pid), usage.largest_memory(process.pid), usage.cpu_seconds(process.pid)) == (0, 0, 0.0)


def test_a_process_has_ended_also_if_its_parent_has_not_waited_for_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.DEVNULL)
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
    assert usage.started_at(process.pid) is None
    process.wait()


def test_largest_memory_is_that_of_a_child_process_that_uses_more() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'x = bytes([1]) * 80_000_000; print(1); input()'])"
    command = [sys.executable, "-u", "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        assert usage.largest_memory(process.pid) > 80_000_000 > usage.memory(process.pid)
        process.stdin.write("\n")


@pytest.mark.parametrize(
    ("own", "folder"), [("0::/\n", "."), ("0::/system.slice/chat.service\n", "system.slice/chat.service")]
)
def test_kills_for_lack_of_memory_are_those_of_the_own_control_group(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, folder: str
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text(own)
    (tmp_path / "cgroup" / folder).mkdir(parents=True)
    events = "low 0\nhigh 0\nmax 7\noom 3\noom_kill 2\noom_group_kill 0\n"
    (tmp_path / "cgroup" / folder / "memory.events").write_text(events)
    monkeypatch.setattr(usage, "PROC", tmp_path / "proc")
    monkeypatch.setattr(usage, "CGROUPS", tmp_path / "cgroup")
    assert usage.out_of_memory_kills() == 2


def test_kills_for_lack_of_memory_are_0_without_control_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(usage, "PROC", tmp_path)
    assert usage.out_of_memory_kills() == 0
