"""Metrics of a store: every total, queue, worker and limit, with few label values and none of a user."""

import asyncio
import math
import time

import pytest

from sidelane.exporters import store_exporter
from sidelane.exporters.exposition import MAX_LABEL_VALUES, Kind
from sidelane.exporters.store_exporter import StoreExporter
from sidelane.exporters.store_metrics import (
    COUNTERS,
    COUNTERS_OF_REASONS,
    COUNTERS_OF_SUMS,
    HISTOGRAMS,
    METRICS,
    StoreFacts,
    store_exposition,
)
from sidelane.model.errors import StoreUnavailable
from sidelane.model.history import BUCKETS, Count, HistoryCell, Series
from sidelane.model.worker import LimitStats, QueueStats, WorkerInfo
from tests.exporters.facts import Sample, busy_facts, facts, read, sample, sqlite_info

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


def samples(found: StoreFacts, accept: str = "") -> dict[Sample, float]:
    text, content_type = store_exposition(found).encode(accept)
    return read(text, openmetrics="openmetrics" in content_type)


def test_every_metric_has_samples_in_both_formats() -> None:
    text, openmetrics = samples(busy_facts()), samples(busy_facts(), OPENMETRICS)
    assert text == openmetrics
    names = {name for name, _ in text}
    expected = {
        name
        for metric in METRICS
        for name in (
            [f"{metric.name}{suffix}" for suffix in ("_bucket", "_sum", "_count")]
            if metric.kind is Kind.HISTOGRAM
            else [metric.name]
        )
    }
    assert names == expected


def test_names_follow_the_conventions_of_prometheus() -> None:
    for metric in METRICS:
        assert metric.name.startswith("sidelane_")
        assert metric.name.endswith("_total") == (metric.kind is Kind.COUNTER), metric.name
        assert not {"user", "key", "job", "id"} & {*metric.labels}, metric.name
        assert metric.help.endswith(".")
    assert len({metric.name for metric in METRICS}) == len(METRICS)


def test_every_count_of_the_history_is_exposed() -> None:
    sums = {count for count, _ in COUNTERS_OF_SUMS.values()}
    exposed = {*COUNTERS.values(), *COUNTERS_OF_REASONS.values(), *sums, *HISTOGRAMS.values()}
    of_histograms = {Count.WAIT_MS, Count.RUN_MS, Count.FIRST_EVENT_MS}
    assert exposed | of_histograms == {count for count in Count if count < Count.MAX_READY}


def test_totals_of_releases_are_added_up() -> None:
    found = samples(busy_facts())
    chat = {"queue": "chat", "task": "answer"}
    assert found[sample("sidelane_jobs_submitted_total", **chat)] == 3 * (1000 + Count.SUBMITTED)
    assert found[sample("sidelane_jobs_ended_total", **chat, outcome="failed")] == 3 * (1000 + Count.FAILED)
    assert found[sample("sidelane_tokens_total", **chat, direction="output")] == 3 * (1000 + Count.OUTPUT_TOKENS)
    assert found[sample("sidelane_stream_seconds_total", **chat)] == pytest.approx(3 * (1000 + Count.STREAM_MS) / 1000)


def test_a_histogram_has_cumulative_buckets() -> None:
    found = samples(busy_facts())
    chat = {"queue": "chat", "task": "answer"}
    buckets = [found[sample("sidelane_job_wait_seconds_bucket", **chat, le=str(bound))] for bound in BUCKETS]
    assert buckets == [3.0] * BUCKETS.index(0.5) + [6.0] * (len(BUCKETS) - BUCKETS.index(0.5))
    assert found[sample("sidelane_job_wait_seconds_bucket", **chat, le="+Inf")] == 9
    assert found[sample("sidelane_job_wait_seconds_count", **chat)] == 9


def test_an_outcome_that_never_came_is_zero_so_that_its_first_increase_counts() -> None:
    found = samples(facts(totals=[HistoryCell(0.0, Series("chat", "answer"), {Count.SUBMITTED: 1})]))
    assert found[sample("sidelane_jobs_ended_total", queue="chat", task="answer", outcome="failed")] == 0


def test_a_queue_without_ready_jobs_has_no_wait_and_one_that_stands_has_no_end() -> None:
    found = samples(facts(queues=[QueueStats(name="idle"), QueueStats(name="stuck", ready=1, oldest=5.0)]))
    assert found[sample("sidelane_queue_oldest_seconds", queue="idle")] == 0
    assert found[sample("sidelane_queue_estimated_wait_seconds", queue="idle")] == 0
    assert found[sample("sidelane_queue_estimated_wait_seconds", queue="stuck")] == math.inf
    assert found[sample("sidelane_queue_workers", queue="stuck")] == 0


def test_processes_are_counted_by_kind_health_and_release() -> None:
    worker = WorkerInfo(id="w1", name="w1", queues={"chat": 4}, slots=4, running=1, release="r1")
    found = samples(
        facts(
            processes=[
                worker,
                WorkerInfo(id="w2", name="w2", queues={"chat": 4}, slots=4, health="draining: it finishes its jobs"),
                WorkerInfo(id="w3", name="w3", queues={"chat": 1}, slots=1, isolation=True, health="cannot claim"),
                WorkerInfo(id="w4", name="w4", isolation=True, health="opening its resources"),
                WorkerInfo(id="a1", name="a1", kind="api", release="r1"),
            ]
        )
    )
    workers = {labels: value for (name, labels), value in found.items() if name == "sidelane_workers"}
    healths = [("ok", "r1"), ("opening", ""), ("draining", ""), ("unhealthy", "")]
    assert workers == {frozenset({("health", health), ("release", release)}): 1 for health, release in healths}
    assert found[sample("sidelane_api_processes", release="r1")] == 1
    assert found[sample("sidelane_worker_slots")] == 8
    assert found[sample("sidelane_worker_slots_used")] == 1
    assert found[sample("sidelane_queue_slots", queue="chat")] == 8


def test_a_service_without_workers_has_no_slots() -> None:
    assert samples(facts())[sample("sidelane_worker_slots")] == 0


def test_limits_are_added_up_by_name_without_their_keys() -> None:
    limits = [LimitStats(id=f"user/ann/{number}", max=2, used=1, waiting=3) for number in range(5)]
    found = samples(facts(limits=limits))
    assert found[sample("sidelane_limit_keys", limit="user")] == 5
    assert found[sample("sidelane_limit_waiting_jobs", limit="user")] == 15
    assert "ann" not in str(found)


@pytest.mark.parametrize("kind", ["queue", "task", "limit", "release"])
def test_a_thousand_names_become_two_hundred_and_other(kind: str) -> None:
    names = [f"name-{number:04}" for number in range(1000)]
    counts: dict[int, int] = {Count.SUBMITTED: 1}
    made = {
        "queue": facts(queues=[QueueStats(name=name, ready=1, oldest=2.0) for name in names]),
        "task": facts(totals=[HistoryCell(0.0, Series("chat", name), counts) for name in names]),
        "limit": facts(limits=[LimitStats(id=f"{name}/", max=1, used=1, waiting=1) for name in names]),
        "release": facts(processes=[WorkerInfo(id=name, name="w", release=name) for name in names]),
    }[kind]
    metric = {
        "queue": "sidelane_queue_jobs", "task": "sidelane_jobs_submitted_total", "limit": "sidelane_limit_waiting_jobs",
        "release": "sidelane_workers",
    }[kind]  # fmt: skip
    found = {
        dict(labels)[kind]: value
        for (name, labels), value in samples(made).items()
        if name == metric and dict(labels).get("state", "ready") == "ready"
    }
    assert len(found) == MAX_LABEL_VALUES + 1
    assert sum(found.values()) == 1000
    assert found["other"] == 800


def test_names_with_quotes_and_line_feeds_are_escaped() -> None:
    name = 'a"b\\c\nd'
    found = samples(facts(totals=[HistoryCell(0.0, Series("chat", name), {Count.SUBMITTED: 1})]))
    assert found[sample("sidelane_jobs_submitted_total", queue="chat", task=name)] == 1


def test_a_store_that_does_not_know_its_size_exposes_none() -> None:
    names = {name for name, _ in samples(facts(info=sqlite_info(size=None, details={})))}
    assert "sidelane_store_size_bytes" not in names
    assert "sidelane_store_wal_size_bytes" not in names
    assert "sidelane_store_jobs" in names


def test_a_store_with_the_most_series_is_exposed_within_a_second() -> None:
    counts = busy_facts().totals[0].counts
    totals = [HistoryCell(0.0, Series(f"q{number % 10}", f"t{number}"), counts) for number in range(200)]
    began = time.perf_counter()
    text, _ = store_exposition(facts(totals=totals)).encode("")
    assert time.perf_counter() - began < 1.0  # about 150 ms on an idle machine
    assert len(text) < 3_000_000


class CountedReads:
    """Reads of a store, which wait for `answer` and fail with `error`."""

    def __init__(self) -> None:
        self.count = 0
        self.answer = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> StoreFacts:
        self.count += 1
        await self.answer.wait()
        if self.error is not None:
            raise self.error
        return busy_facts()


async def test_concurrent_scrapes_share_one_read_and_a_second_keeps_it() -> None:
    reads = CountedReads()
    exporter = StoreExporter(reads)
    scrapes = [asyncio.create_task(exporter.scrape(accept)) for accept in ("", OPENMETRICS, "")]
    await asyncio.sleep(0)
    reads.answer.set()
    answers = await asyncio.gather(*scrapes)
    assert [content_type.partition(";")[0] for _, content_type in answers] == [
        "text/plain", "application/openmetrics-text", "text/plain",
    ]  # fmt: skip
    assert (await exporter.scrape(""))[0] == answers[0][0]
    assert reads.count == 1


async def test_a_new_scrape_reads_again_after_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_exporter, "CACHED_FOR", 0.0)
    reads = CountedReads()
    reads.answer.set()
    exporter = StoreExporter(reads)
    await exporter.scrape("")
    await exporter.scrape("")
    assert reads.count == 2


async def test_a_scrape_that_gives_up_does_not_end_the_read_of_others() -> None:
    reads = CountedReads()
    exporter = StoreExporter(reads)
    first, second = (asyncio.create_task(exporter.scrape("")) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    reads.answer.set()
    assert await second
    assert reads.count == 1


async def test_a_store_that_does_not_answer_is_unavailable_and_then_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_exporter, "READ_TIMEOUT", 0.01)
    monkeypatch.setattr(store_exporter, "CACHED_FOR", 0.0)
    reads = CountedReads()
    exporter = StoreExporter(reads)
    with pytest.raises(StoreUnavailable, match=r"did not answer within 0\.01 s"):
        await exporter.scrape("")
    reads.answer.set()
    assert await exporter.scrape("")


async def test_an_outage_is_remembered_for_a_second_too() -> None:
    reads = CountedReads()
    reads.answer.set()
    reads.error = StoreUnavailable("The store is away.")
    exporter = StoreExporter(reads)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            await exporter.scrape("")
    assert reads.count == 1
