"""Made-up facts of a store, and what a Prometheus server reads in a text."""

from collections.abc import Iterable
from typing import Any

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from sidelane.exporters.store_metrics import StoreFacts
from sidelane.model.history import Count, HistoryCell, Series, add_duration
from sidelane.model.store_info import StoreInfo
from sidelane.model.worker import LimitStats, QueueStats, WorkerInfo

Sample = tuple[str, frozenset[tuple[str, str]]]


def sqlite_info(**fields: Any) -> StoreInfo:
    values: dict[str, Any] = {
        "kind": "SQLite", "version": "3.54.0", "size": 8192, "free": 4096, "jobs": 12, "failed": 3,
        "details": {"write-ahead log": 2048, "something else": "text"}, **fields,
    }  # fmt: skip
    return StoreInfo(**values)


def facts(**fields: Any) -> StoreFacts:
    """Return the facts of an idle store, with these fields."""
    values: dict[str, Any] = {
        "totals": [], "queues": [], "limits": [], "processes": [], "info": sqlite_info(), **fields,
    }  # fmt: skip
    return StoreFacts(**values)


def busy_facts() -> StoreFacts:
    """Return the facts of a store in which every metric has a value."""
    counts: dict[int, int] = {count: 1000 + count for count in Count if count <= Count.COST_MICROS}
    for first in (Count.WAIT, Count.RUN, Count.FIRST_EVENT):
        for seconds in (0.005, 0.3, 7000.0):
            add_duration(counts, first, seconds)
    worker = WorkerInfo(id="w1", name="w1", queues={"chat": 40}, slots=40, running=12, release="r1")
    return facts(
        totals=[HistoryCell(0.0, Series("chat", "answer", release), counts) for release in ("", "r1", "r2")],
        queues=[QueueStats(name="chat", ready=30, delayed=2, running=12, oldest=9.0, rate=3.0, head_wait=7.0)],
        limits=[LimitStats(id="vllm/", max=40, used=40, waiting=31), LimitStats(id="user/ann", max=2, used=1)],
        processes=[worker, WorkerInfo(id="a1", name="api", kind="api", release="r1")],
        info=sqlite_info(
            max_size=1 << 30,
            disk_free=1 << 20,
            details={"write-ahead log": 1, "memory of the server": 2, "size of the append-only file": 3},
        ),
        target_waits={"chat": 10.0},
        findings={"urgent": 1, "soon": 0, "info": 2},
    )  # fmt: skip


def read(text: bytes, *, openmetrics: bool = False) -> dict[Sample, float]:
    """Return the value of each sample, as a parser of the format reads it."""
    families: Iterable[Any] = (parse_openmetrics if openmetrics else parse_text)(text.decode())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value for each in families for sample in each.samples
    }


def sample(name: str, **labels: str) -> Sample:
    return name, frozenset(labels.items())
