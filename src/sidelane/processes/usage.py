"""Memory, CPU time and start time of processes, and the out-of-memory count of this process's control group."""

from pathlib import Path

import psutil

PROC = Path("/proc")
CGROUPS = Path("/sys/fs/cgroup")

START_TIME_FIELD = 19
"""Index of `starttime` in /proc/<pid>/stat after the name of the program (proc(5), field 22)."""


def started_at(pid: int) -> float | None:
    """Return a number that, together with the id, identifies a process for as long as the machine runs. None: no such process.

    On Linux it is the start time in clock ticks since boot, which does not move when the clock is set.
    """
    try:
        if not PROC.joinpath("self/stat").exists():
            return psutil.Process(pid).create_time()
        stat = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except (OSError, psutil.Error):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else float(fields[START_TIME_FIELD])


def memory(pid: int) -> int:
    """Return the resident memory of a process in bytes, or 0 if it has ended."""
    try:
        return psutil.Process(pid).memory_info().rss
    except psutil.Error:
        return 0


def largest_memory(pid: int) -> int:
    """Return the memory of a process or of one of its descendants, whichever uses more, in bytes."""
    try:
        children = psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return 0
    return max([memory(pid), *(memory(child.pid) for child in children)])


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has used in seconds, or 0 if it has ended."""
    try:
        times = psutil.Process(pid).cpu_times()
    except psutil.Error:
        return 0.0
    return times.user + times.system


def out_of_memory_kills() -> int:
    """Return how many processes of this process's control group the kernel has killed for lack of memory (cgroup v2)."""
    try:
        own = (PROC / "self/cgroup").read_text(encoding="utf-8").strip().rpartition("::")[2]
        events = (CGROUPS / own.lstrip("/") / "memory.events").read_text(encoding="utf-8")
    except OSError:
        return 0
    counts = dict(line.split() for line in events.splitlines() if len(line.split()) == 2)
    return int(counts.get("oom_kill", 0))
