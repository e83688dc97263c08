"""Findings about processes and the store, from facts."""

from dataclasses import replace

from sidelane.admin.findings.facts import SizeSample, WorkerExit
from sidelane.admin.findings.finding import Severity
from sidelane.model.history import Count
from sidelane.model.store_info import StoreInfo
from tests.admin.facts import NOW, cell, find, only, running, worker

REDIS = StoreInfo(
    kind="Redis", version="8", size=None, max_size=1_000_000_000, jobs=10, failed=0, server="run-1",
    details={"memory of the server": 840_000_000, "append-only file": "on, appendfsync everysec"},
)  # fmt: skip


def test_workers_with_one_error_are_one_finding() -> None:
    stuck = [
        worker(f"chat-{n}", health=f"the event loop has been stuck for {n}.3 s: shop.tasks.answer") for n in range(1, 4)
    ]
    found = only(workers=[*stuck, worker("chat-9")])
    assert found.severity is Severity.SOON
    assert str(found.sentence).startswith("3 workers are unhealthy: the event loop has been stuck for ")
    assert "chat-1, chat-2, chat-3" in found.evidence_text


def test_unhealthy_workers_are_urgent_if_a_queue_has_no_other() -> None:
    found = only(workers=[worker(health="cannot open its resource llm: no GPU"), worker("other", queues={"gpu": 1})])
    assert found.severity is Severity.URGENT
    assert str(found.sentence) == "Worker chat-1@box is unhealthy: cannot open its resource llm: no GPU"


def test_workers_that_start_or_drain_are_no_finding() -> None:
    texts = ("ok", "draining: it finishes its jobs and takes no more", "opening its resources")
    assert find(workers=[worker(text, health=text) for text in texts]) == []


def test_a_blocked_event_loop_of_an_api_process_is_found() -> None:
    api = worker("api-1@box", kind="api", queues={}, tasks={}, slots=0, running=0, streams=12, loop_lag=2.3)
    found = only(workers=[api])
    assert str(found.sentence) == "1 process has an event loop that is up to 2.3 s late: api-1@box"


def test_processes_that_ran_out_of_memory_are_urgent() -> None:
    exits = [
        WorkerExit(NOW - 480, "chat-1", "out of memory", 600_000_000),
        WorkerExit(NOW - 40, "chat-2", "out of memory (signal SIGKILL)", 612_000_000),
        WorkerExit(NOW - 5000, "chat-3", "out of memory", 1),
    ]
    found = only(exits=exits, recent=[cell({Count.LOST: 2})])
    assert str(found.sentence) == "2 workers were killed in the last 15 min: out of memory"
    assert (found.severity, found.since) == (Severity.URGENT, NOW - 480)
    assert found.action.command == "sidelane worker --max-memory 480MB"


def test_lost_workers_are_found_with_or_without_a_report() -> None:
    lost = cell({Count.LOST: 5})
    silent = only(recent=[lost])
    assert str(silent.sentence) == "5 worker losses in the last 15 min"
    reported = only(recent=[lost], exits=[WorkerExit(NOW - 40, "chat-1", "signal SIGSEGV")])
    assert (
        str(reported.sentence) == "5 worker losses in the last 15 min; 1 worker died, the last 40 s ago: signal SIGSEGV"
    )


def test_a_poison_job_is_the_cause_of_lost_workers() -> None:
    poison, lost = find(
        recent=[cell({Count.LOST: 2})], running=[running("01a2", started=NOW - 3, worker_losses=2, isolated=True)]
    )
    assert (lost.key, lost.cause) == ("lost-workers", poison.key)


def test_a_server_that_changed_says_what_may_be_lost() -> None:
    small = replace(REDIS, max_size=None)
    found = only(store=small, server_changed=NOW - 300)
    assert found.severity is Severity.INFO
    assert str(found.sentence) == "Store: Redis restarted or failed over 5 min ago"
    assert "up to 2 s" in found.evidence_text
    warned = only(store=small, server_changed=NOW - 300, durability_warnings=["its server keeps no append-only file"])
    assert warned.evidence_text == "The store may lose jobs: its server keeps no append-only file."
    assert find(store=small, server_changed=NOW - 4000) == []


def test_a_store_that_fills_up_says_by_when() -> None:
    samples = [SizeSample(NOW - 3600, 830_000_000, None), SizeSample(NOW, 840_000_000, None)]
    found = only(store=REDIS, samples=samples)
    assert str(found.sentence) == "Store: it is 84 % full, full in 16 h at this rate"
    half = replace(REDIS, details={"memory of the server": 550_000_000})
    assert find(store=half) == []
    fast = [SizeSample(NOW - 3600, 450_000_000, None), SizeSample(NOW, 550_000_000, None)]
    assert str(only(store=half, samples=fast).sentence) == "Store: it is 55 % full, full in 4 h 30 min at this rate"


def test_a_disk_that_fills_up_says_by_when() -> None:
    file = StoreInfo(kind="SQLite", version="3", size=10**9, jobs=5, failed=0, disk_free=4_000_000_000)
    samples = [SizeSample(NOW - 3600, None, 5_000_000_000), SizeSample(NOW, None, 4_000_000_000)]
    assert (
        str(only(store=file, samples=samples).sentence) == "Store: its disk has 4.0 GB left, full in 4 h at this rate"
    )
    assert find(store=file) == []
    assert only(store=replace(file, disk_free=100_000_000)).severity is Severity.URGENT


def test_alerts_that_do_not_arrive_are_a_finding() -> None:
    assert (
        str(only(alert_error="ops.example.com answered 503").sentence)
        == "Alerts do not arrive: ops.example.com answered 503"
    )
