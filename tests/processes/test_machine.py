"""The machine of a process: what the control groups around it allow of cores and memory."""

import os
from pathlib import Path

import pytest

from sidelane.processes import machine


def test_machine_has_cores_and_memory() -> None:
    found = machine.local_machine()
    assert 0 < found.cores <= (os.cpu_count() or 1)
    assert found.memory > 100_000_000


def test_container_has_what_the_tightest_of_its_control_groups_allows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    (tmp_path / "proc" / "self" / "cgroup").write_text("0::/pod/worker\n")
    groups = tmp_path / "cgroup"
    (groups / "pod" / "worker").mkdir(parents=True)
    (groups / "pod" / "cpu.max").write_text("50000 100000\n")
    (groups / "pod" / "memory.max").write_text("max\n")
    (groups / "pod" / "worker" / "cpu.max").write_text("max 100000\n")
    (groups / "pod" / "worker" / "memory.max").write_text("268435456\n")
    monkeypatch.setattr(machine, "PROC", tmp_path / "proc")
    monkeypatch.setattr(machine, "CGROUPS", groups)
    found = machine.local_machine()
    assert (found.cores, found.memory, found.limited) == (0.5, 268_435_456, True)
