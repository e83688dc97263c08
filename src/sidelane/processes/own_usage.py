"""Memory and CPU of this process and of its children, for heartbeats and for process loads."""

import os
import resource
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PROC = Path("/proc")
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")

CPU_FIELDS = slice(11, 15)
"""Indexes of user and system time in /proc/<pid>/stat after the name, of a process and of its ended children (proc(5))."""


def own_memory() -> int:
    """Return the resident memory of this process in bytes, or 0 on systems that do not tell."""
    return _memory("self")


def children_usage() -> tuple[float, int]:
    """Return the CPU seconds of this process's children, ended ones too, and the memory of the living ones in bytes."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu, memory = ended.ru_utime + ended.ru_stime, 0
    for pid in _children():
        with suppress(OSError):  # it has ended meanwhile
            stat = (PROC / pid / "stat").read_text(encoding="utf-8", errors="replace")
            cpu += sum(map(int, stat.rpartition(")")[2].split()[CPU_FIELDS])) / TICKS
            memory += _memory(pid)
    return cpu, memory


def _children() -> Iterator[str]:
    """Yield the process ids of this process's children, as far as the system tells."""
    for children in PROC.glob("self/task/*/children"):
        with suppress(OSError):  # its thread has ended meanwhile
            yield from children.read_text().split()


def _memory(pid: str) -> int:
    try:
        return int((PROC / pid / "statm").read_text().split()[1]) * PAGE_SIZE
    except OSError:
        return 0


class CpuMeter:
    """Measures the CPU that this process uses, as a fraction of a core."""

    def __init__(self) -> None:
        self._at, self._used = time.monotonic(), time.process_time()
        self._fraction = 0.0

    def fraction(self) -> float:
        """Return the fraction since about the last call, or the last one if that was within a second."""
        now, used = time.monotonic(), time.process_time()
        if now - self._at >= 1.0:
            self._fraction = (used - self._used) / (now - self._at)
            self._at, self._used = now, used
        return round(self._fraction, 3)
