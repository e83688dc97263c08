"""Results: figures by workload and contestant, stored as JSON."""

import json
import os
import platform
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmarks.contestants import Contestant
from benchmarks.server import DURABILITY

Figures = dict[str, float]
"""The figures of one round, by name."""


@dataclass
class Measured:
    """One contestant in one workload: the figures of its rounds, or the reason it failed."""

    rounds: list[Figures] = field(default_factory=list)
    failed: str = ""
    seconds: float = 0.0  # duration of the last round

    def of(self, figure: str) -> list[float]:
        return [each[figure] for each in self.rounds if figure in each]

    def median(self, figure: str) -> float | None:
        """Return the median of the rounds."""
        values = self.of(figure)
        return statistics.median(values) if values else None

    def as_json(self) -> dict[str, Any]:
        names = list(dict.fromkeys(name for each in self.rounds for name in each))
        figures = {
            name: {
                "median": self.median(name),
                "low": min(self.of(name)),
                "high": max(self.of(name)),
                "rounds": self.of(name),
            }
            for name in names
        }
        return {"figures": figures, **({"failed": self.failed} if self.failed else {})}


def machine() -> dict[str, Any]:
    """Describe this machine."""
    model = next(
        (line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")),
        platform.machine(),
    )
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "processor": model,
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 1e6),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def store(path: Path, chosen: Sequence[Contestant], workload: str, entry: Mapping[str, Any]) -> None:
    """Replace one workload's figures in this file."""
    path.parent.mkdir(exist_ok=True)
    kept = json.loads(path.read_text("utf-8")) if path.exists() else {"contestants": {}, "workloads": {}}
    kept |= {"machine": machine(), "redis": DURABILITY}
    kept["contestants"] |= {
        each.name: {**each.about, "store": each.store, "slots": each.slots, "drain_slots": each.drain_slots}
        for each in chosen
    }
    kept["workloads"][workload] = {"measured": datetime.now(UTC).isoformat(timespec="minutes"), **entry}
    path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")


def _lines(path: str) -> list[str]:
    file = Path(path)
    return file.read_text("utf-8").splitlines() if file.exists() else []
