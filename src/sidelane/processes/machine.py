"""The machine of this process: its cores and memory, or what the control group of a container allows of them (cgroup v2)."""

import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

UNLIMITED = "max"


@dataclass(frozen=True, slots=True)
class LocalMachine:
    """The cores and the bytes of memory that processes here may use. `limited` means that a control group limits the memory."""

    host: str
    cores: float
    memory: int
    limited: bool = False


def local_machine() -> LocalMachine:
    """Return the machine of this process."""
    cores, memory = float(_own_cores()), os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    allowed = min((limit for group in _own_groups() if (limit := _memory_limit(group)) is not None), default=memory)
    for group in _own_groups():
        cores = min(cores, _core_limit(group) or cores)
    return LocalMachine(socket.gethostname(), cores, min(memory, allowed), limited=allowed < memory)


def _own_cores() -> int:
    """Return the cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _own_groups() -> Iterator[Path]:
    """Yield the folders of this process's control group and of the groups around it, each of which limits what is within."""
    try:
        own = (PROC / "self/cgroup").read_text(encoding="utf-8").strip().rpartition("::")[2]
    except OSError:
        return
    folder = CGROUPS / own.lstrip("/")
    yield from (each for each in (folder, *folder.parents) if each.is_relative_to(CGROUPS))


def _memory_limit(group: Path) -> int | None:
    text = _read(group / "memory.max")
    return int(text) if text not in ("", UNLIMITED) else None


def _core_limit(group: Path) -> float | None:
    quota, _, period = _read(group / "cpu.max").partition(" ")
    return int(quota) / int(period) if period and quota != UNLIMITED else None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8").strip()
    except OSError:
        return ""
