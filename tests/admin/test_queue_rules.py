"""Findings about queues, from facts."""

from sidelane.admin.findings.finding import Severity
from sidelane.client.declarations import Declarations
from sidelane.model.history import Count, HistoryCell
from sidelane.model.worker import LimitStats
from tests.admin.facts import MINUTE_START, NOW, cell, find, only, queue, runs, targets, worker


def test_a_queue_that_misses_its_target_is_urgent_and_says_how_many_slots_to_add() -> None:
    counts = {Count.SUBMITTED: 1200, Count.STARTED: 960, **runs(20.0, 50)}
    found = only(
        declared=targets(chat=10.0),
        queues=[queue(ready=212, running=40, head_wait=41.0, oldest=41.0)],
        workers=[worker()],
        recent=[cell(counts)],
    )
    assert (found.key, found.severity) == ("target-wait:chat", Severity.URGENT)
    assert str(found.sentence) == "Queue chat misses its target wait of 10 s: a job that could start has waited 41 s"
    assert found.since == NOW - 31
    assert "40 of 40 slots busy." in found.evidence_text
    assert "212 jobs can start." in found.evidence_text
    assert "the queue grows" in found.evidence_text
    assert str(found.action.text) == "Add 85 slots to chat"
    assert found.action.command.startswith("sidelane worker --queues chat=")


def test_more_slots_are_no_action_if_slots_are_free_or_a_cause_is_known() -> None:
    missed = queue(ready=5, running=3, waiting_for_limit=31, head_wait=41.0)
    free = only(declared=targets(chat=10.0), queues=[missed], workers=[worker(running=3)])
    assert str(free.action.text) == "See why 37 slots of chat are free"
    limit = LimitStats(id="vllm/vllm", max=40, used=40, waiting=31)
    held, _ = find(declared=targets(chat=10.0), queues=[missed], workers=[worker()], limits=[limit])
    assert held.action.command == "sidelane jobs list --queue chat --state queued"


def test_a_queue_that_shrinks_says_by_when_it_clears() -> None:
    window = NOW - (MINUTE_START - 240)
    counts = {Count.SUBMITTED: round(1 * window), Count.STARTED: round(3 * window)}
    found = only(
        declared=targets(chat=10.0),
        queues=[queue(ready=100, head_wait=20.0)],
        workers=[worker()],
        recent=[cell(counts)],
    )
    assert "1.0/s arrive, 3.0/s start; the queue clears in 50 s." in found.evidence_text


def test_queues_within_their_target_or_paused_or_without_one_are_no_finding() -> None:
    for fields in ({"head_wait": 10.0}, {"head_wait": None}, {"head_wait": 90.0, "paused": True}):
        assert find(declared=targets(chat=10.0), queues=[queue(ready=3, **fields)], workers=[worker()]) == []
    assert find(queues=[queue(ready=58_410, head_wait=21_600.0)], workers=[worker()]) == []


def test_a_flooding_user_alone_is_no_finding() -> None:
    # the user's first job is never the first for long, and the rest waits for the user's own limit
    flooded = queue(ready=900, waiting_for_limit=4000, running=40, oldest=600.0, head_wait=0.4)
    limits = [LimitStats(id="answer-per-user/u-8841", max=2, used=2, waiting=4000)]
    assert find(declared=targets(chat=10.0), queues=[flooded], workers=[worker()], limits=limits) == []
    own = Declarations(target_waits={"chat": 10.0}, user_limits=frozenset({"fair"}))
    limits = [LimitStats(id="fair/u-8841", max=2, used=2, waiting=4000)]
    assert find(declared=own, queues=[flooded], workers=[worker()], limits=limits) == []


def test_a_queue_without_a_worker_explains_its_missed_target() -> None:
    cause, effect = find(
        declared=targets(chat=10.0),
        queues=[queue(ready=7, oldest=30.0, head_wait=30.0)],
        workers=[worker(queues={"gpu": 1})],
    )
    assert str(cause.sentence) == "7 jobs wait in queue chat, which no live worker serves"
    assert cause.action.command == "sidelane worker --queues chat"
    assert (effect.key, effect.cause) == ("target-wait:chat", cause.key)


def test_an_api_process_serves_no_queue() -> None:
    api = worker("api-1", kind="api", queues={}, tasks={}, slots=0, running=0)
    assert only(queues=[queue(ready=1, oldest=5.0)], workers=[api]).key == "unserved-queue:chat"


def test_a_job_that_has_just_come_does_not_miss_a_worker_yet() -> None:
    assert find(queues=[queue(ready=1, oldest=0.5)]) == []


def test_jobs_of_a_version_that_no_worker_knows_are_found() -> None:
    waiting = queue(ready=7, oldest=30.0, waiting_tasks={"answer": 3, "sum": 1})
    both = [worker(tasks={"answer": 2, "sum": 1}), worker("chat-2", tasks={"answer": 1})]
    found = only(queues=[waiting], workers=both)
    assert found.key == "unserved-task:chat:answer"
    assert "answer v3" in str(found.sentence)
    assert "know v2 at most" in found.evidence_text
    assert find(queues=[waiting], workers=[*both, worker("new", tasks={"answer": 3})]) == []


def test_jobs_of_a_paused_task_wait_for_nothing_that_a_person_should_do() -> None:
    waiting = queue(ready=7, oldest=60.0, head_wait=60.0, waiting_tasks={"answer": 1})
    paused = {"declared": targets(chat=10.0), "queues": [waiting], "paused_tasks": ["answer"]}
    assert find(workers=[worker()], **paused) == []
    assert find(workers=[worker(tasks={"answer": 1})], **paused) == []


def test_an_isolation_worker_does_not_count_as_one_that_knows_a_task() -> None:
    isolated = worker("iso", isolation=True)
    assert only(queues=[queue(ready=1, oldest=5.0)], workers=[isolated]).key == "unserved-queue:chat"


def test_a_limit_that_holds_many_explains_a_missed_target() -> None:
    limit = LimitStats(id="vllm/vllm", max=40, used=40, waiting=31)
    effect, cause = find(
        declared=targets(chat=10.0),
        queues=[queue(ready=5, waiting_for_limit=31, head_wait=41.0)],
        workers=[worker()],
        limits=[limit],
    )
    assert str(cause.sentence) == "Limit vllm holds 31 jobs: 40 of 40 slots are taken"
    assert effect.cause == cause.key == "limit:vllm/vllm"


def test_a_limit_that_holds_only_jobs_of_batch_queues_is_no_finding() -> None:
    limit = LimitStats(id="llm-night/llm", max=10, used=10, waiting=58_000, available_in=12.0)
    batch = queue("report", waiting_for_limit=58_000)
    assert find(declared=targets(chat=10.0), queues=[batch, queue()], workers=[worker()], limits=[limit]) == []
    assert str(only(queues=[batch], limits=[limit]).sentence).endswith("it admits the next in 12 s")


def test_a_provider_that_refuses_is_urgent_since_its_first_refusal_in_a_row() -> None:
    refused = [cell({Count.THROTTLED: 59, Count.STARTED: 70}, at=MINUTE_START - 60 * minute) for minute in (1, 2)]
    earlier = cell({Count.THROTTLED: 1}, at=MINUTE_START - 60 * 8)
    found = only(recent=[*refused, earlier])
    assert found.key == "provider:answer"
    assert "118 attempts" in str(found.sentence)
    assert found.since == MINUTE_START - 120
    assert "140 attempts of answer started" in found.evidence_text
    assert find(recent=[cell({Count.THROTTLED: 9})]) == []


def test_a_provider_is_over_when_enough_jobs_succeed_in_later_minutes_without_a_refusal() -> None:
    def recent(refused: int, before: int, after: int) -> list[HistoryCell]:
        refusals = cell({Count.THROTTLED: refused, Count.SUCCEEDED: before}, at=MINUTE_START - 120)
        return [refusals, cell({Count.SUCCEEDED: after}, at=MINUTE_START - 60)]

    assert only(recent=recent(refused=10, before=0, after=9)).key == "provider:answer"
    assert find(recent=recent(refused=10, before=0, after=10)) == []
    assert (
        only(recent=recent(refused=10, before=190, after=59)).key == "provider:answer"
    )  # it refuses one call in twenty
    assert find(recent=recent(refused=10, before=190, after=60)) == []
    again = [*recent(refused=10, before=0, after=10), cell({Count.THROTTLED: 1}, at=MINUTE_START)]
    assert only(recent=again).key == "provider:answer"


def test_findings_are_bounded_and_sorted_by_severity() -> None:
    queues = [queue(f"q{number}", ready=1, oldest=9.0) for number in range(200)]
    found = find(queues=queues, workers=[worker(health="cannot open its resource llm")])
    assert len(found) == 60
    assert {each.severity for each in found} == {Severity.URGENT}
