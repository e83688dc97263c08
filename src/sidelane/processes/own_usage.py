"""Memory and CPU of this process, for the descriptions in heartbeats."""

import os
import time
from pathlib import Path

STATM = Path("/proc/self/statm")
PAGE_SIZE = os.sysconf("SC_PAGE_SIZE")


def own_memory() -> int:
    """Return the resident memory of this process in bytes, or 0 on systems that do not tell."""
    try:
        return int(STATM.read_text().split()[1]) * PAGE_SIZE
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
