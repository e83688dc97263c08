"""Process loads: what each process uses, as one line of a journal every ten minutes, so that advice knows since when."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any, Final

from sidelane.model.json_text import dump_json
from sidelane.model.worker import WORKER

PROCESS_LOADS: Final = "process_loads"
"""Name of the journal, which keeps the last `MAX_PROCESS_LOADS` lines of all processes together."""

MAX_PROCESS_LOADS: Final = 20_000
"""About seven megabytes: two weeks of ten processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLoad:
    """What one process used within the `seconds` before its line was written. CPU is in cores, memory in bytes.

    `cpu` and `children_cpu` are means, `max_cpu` is the highest of five seconds. `memory` and `loop_lag` are the highest.
    `running` and `streams` are means. `jobs`, `requests` and `unavailable` (503s) were counted within these seconds.
    """

    process: str  # `WorkerInfo.id`
    name: str
    host: str = ""
    pid: int = 0
    kind: str = WORKER
    seconds: float
    cpu: float = 0.0  # of the process itself
    children_cpu: float = 0.0  # of its child processes
    max_cpu: float = 0.0  # of the process itself
    memory: int = 0  # of both together
    loop_lag: float = 0.0  # seconds that its event loop came too late
    queues: tuple[str, ...] = ()
    slots: int = 0
    running: float = 0.0
    jobs: int = 0  # attempts that have ended
    streams: float = 0.0
    requests: int = 0  # of the application, if it has `RequestMetrics`
    unavailable: int = 0

    def text(self) -> str:
        """Return the journal's line."""
        return dump_json(asdict(self))


def load_of(text: str) -> ProcessLoad:
    """Return the load of a journal's line, without what another release may have added."""
    found: dict[str, Any] = json.loads(text)
    known = {each.name for each in fields(ProcessLoad)}
    kept = {name: value for name, value in found.items() if name in known}
    return ProcessLoad(**{**kept, "queues": tuple(kept.get("queues", ()))})
