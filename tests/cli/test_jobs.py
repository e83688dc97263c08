"""`sidelane jobs`: list, show, why, submit, duplicate, cancel and requeue."""

import json
import re
from dataclasses import replace

import pytest

from sidelane.external.outbox import DISPATCH_TASK, dispatch_id
from sidelane.model.batch import BatchSpec
from sidelane.model.event import NewEvent
from sidelane.model.history import Usage
from sidelane.model.job import Failure, FollowUp, JobSpec, State
from sidelane.model.limit import Limit
from sidelane.model.outcome import Dispatched, Failed, Retried, Succeeded
from sidelane.model.problem import Problem
from tests.cli.command import Command
from tests.cli.store_driver import WORKER, StoreDriver

LIMIT = Limit(name="answer", key="ann", max=1, on_limit="wait")

LONG = "0123456789abcdef0123456789abcdef"

FAILURE = Failure(
    problem=Problem(status=502, detail="The model is busy."),
    error="APIError: 429",
    traceback="Traceback: line 7\nAPIError: 429",
)


def test_the_group_without_a_command_lists(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    assert [job["id"] for job in sidelane("jobs", "--json", "--limit", "1").json] == ["one"]


def test_the_newest_job_is_listed_first(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("first")
    driver.submit("second")
    result = sidelane("jobs", "list")
    assert result.exit_code == 0
    assert result.stdout.index("second") < result.stdout.index("first")
    assert "queued" in result.stdout
    assert "just now" in result.stdout


def test_the_list_can_be_filtered_by_every_option(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one", user="ann", key="chat:1", labels={"team": "red", "tier": "free"})
    driver.submit("two", task="analyse", queue="gpu", parent="one")
    driver.finish(driver.claim("two"), Succeeded("1"))
    filters = [
        (["--user", "ann"], ["one"]),
        (["--key", "chat:1"], ["one"]),
        (["--label", "team=red", "--label", "tier=free"], ["one"]),
        (["--label", "team=blue"], []),
        (["--task", "analyse"], ["two"]),
        (["--queue", "gpu"], ["two"]),
        (["--parent", "one"], ["two"]),
        (["--state", "succeeded"], ["two"]),
        (["--state", "succeeded", "--state", "queued"], ["two", "one"]),
        (["--limit", "1"], ["two"]),
    ]
    for arguments, expected in filters:
        found = [job["id"] for job in sidelane("jobs", "list", "--json", *arguments).json]
        assert found == expected, arguments


def test_internal_jobs_are_listed_only_on_request(driver: StoreDriver, sidelane: Command) -> None:
    for number in range(3):
        driver.submit(f"job-{number}")
        driver.submit(f"job-{number}.1.0", task="sidelane.callback", queue="sidelane.callbacks", parent=f"job-{number}")

    def listed(*arguments: str) -> list[str]:
        return [job["id"] for job in sidelane("jobs", "--json", *arguments).json]

    assert listed() == ["job-2", "job-1", "job-0"]
    assert listed("--limit", "2") == ["job-2", "job-1"]
    assert listed("--limit", "2", "--all") == ["job-2.1.0", "job-2"]
    assert listed("--parent", "job-1") == ["job-1.1.0"]
    assert len(listed("--queue", "sidelane.callbacks")) == len(listed("--task", "sidelane.callback")) == 3


def test_json_output_contains_parsed_values(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one", user="ann", labels={"team": "red"})
    driver.finish(driver.claim("one"), Succeeded('{"score":0.5}'))
    (job,) = sidelane("jobs", "list", "--json").json
    assert job["state"] == "succeeded"
    assert job["arguments"] == {"question": "Why?"}
    assert job["result"] == {"score": 0.5}
    assert job["labels"] == {"team": "red"}
    assert job["attempt"] == 1
    assert job["submitted"].endswith("Z")


def test_ids_are_never_cut_on_a_narrow_terminal(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit(LONG, task="a_task_with_quite_a_long_name_that_nobody_would_type_twice", user="ann")
    narrow = sidelane("jobs", "list", env={"COLUMNS": "80"})
    assert LONG in narrow.stdout
    assert "USER" not in narrow.stdout
    assert max(len(line) for line in narrow.stdout.splitlines()) <= 80
    wide = sidelane("jobs", "list")
    assert "that_nobody_would_type_twice" in wide.stdout
    assert "ann" in wide.stdout


def test_an_empty_list_names_the_store(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("jobs", "list", "--task", "nothing")
    assert result.exit_code == 0
    assert result.stdout == ""
    assert driver.url in result.stderr
    assert sidelane("jobs", "list", "--task", "nothing", "--json").json == []


def test_lists_show_scheduled_retrying_and_cancelling_jobs(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("later", delay=600.0)
    driver.submit("again")
    driver.finish(driver.claim("again"), Retried(FAILURE, 600.0))
    driver.submit("asked")
    driver.claim("asked")
    sidelane("jobs", "cancel", "asked")
    lines = {line.split()[0]: line for line in sidelane("jobs", "list").stdout.splitlines()[1:]}
    assert "scheduled" in lines["later"]
    assert "in 9 min" in lines["later"] or "in 10 min" in lines["later"]
    assert "retrying" in lines["again"]
    assert "1 failed" in lines["again"]
    assert "cancelling" in lines["asked"]


def test_a_job_waiting_for_a_limit_is_shown_with_the_limit(driver: StoreDriver, sidelane: Command) -> None:
    driver.claim(driver.submit("running", limits=(LIMIT,)))
    driver.submit("waits", limits=(LIMIT,))
    assert driver.try_claim("waits") == ()
    lines = {line.split()[0]: line for line in sidelane("jobs", "list").stdout.splitlines()[1:]}
    assert "waiting for limit" in lines["waits"]
    assert "limit answer/ann" in lines["waits"]
    assert "waiting" not in lines["running"]
    result = sidelane("jobs", "show", "waits")
    assert "waiting for limit" in result.stdout
    why, line, blocked = [line for line in result.stdout.splitlines() if "answer/ann" in line]
    assert "Not started: the limit answer/ann is full (1 of 1)." in why
    assert "blocked" in blocked
    assert "1 at once, wait" in line
    assert "waiting for this limit" in line
    document = sidelane("jobs", "show", "waits", "--json").json
    assert (document["state"], document["waiting_for_limit"], document["limits"]) == (
        "queued",
        "answer/ann",
        ["answer/ann"],
    )


def test_why_explains_a_job_in_a_sentence(driver: StoreDriver, sidelane: Command) -> None:
    driver.claim(driver.submit("running", limits=(LIMIT,)))
    driver.submit("waits", limits=(LIMIT,))
    assert driver.try_claim("waits") == ()
    result = sidelane("jobs", "why", "waits")
    assert "now  Not started: the limit answer/ann is full (1 of 1). Jobs that wait for it: 1." in result.stdout
    document = sidelane("jobs", "why", "waits", "--json").json
    assert document["now"].startswith("Not started: the limit answer/ann is full")
    assert (document["id"], document["why_again"]) == ("waits", None)


def test_jobs_are_listed_by_text_time_and_release(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("a", arguments='{"stock":"005930"}')
    driver.submit("b")
    ids = [job["id"] for job in sidelane("jobs", "list", "--json", "--text", "005930", "--since", "1h").json]
    assert ids == ["a"]
    assert sidelane("jobs", "list", "--json", "--until", "1h").json == []
    assert sidelane("jobs", "list", "--json", "--release", "8ac11e0").json == []


def test_a_cancelled_job_no_longer_waits_for_its_limit(driver: StoreDriver, sidelane: Command) -> None:
    driver.claim(driver.submit("running", limits=(LIMIT,)))
    driver.submit("waits", limits=(LIMIT,))
    driver.try_claim("waits")
    sidelane("jobs", "cancel", "waits")
    assert "waiting for limit" not in sidelane("jobs", "list").stdout


def test_progress_is_shown_in_lists(driver: StoreDriver, sidelane: Command) -> None:
    lease = driver.claim(driver.submit("one"))
    driver.emit(lease, NewEvent("progress", '{"percent":40,"message":"listening"}'))
    result = sidelane("jobs", "list")
    assert "40 %" in result.stdout
    assert "listening" in result.stdout


def test_show_prints_each_failure_with_its_traceback(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    driver.finish(driver.claim("one"), Retried(FAILURE))
    driver.finish(driver.claim("one"), Failed(FAILURE))
    result = sidelane("jobs", "show", "one")
    assert result.exit_code == 0
    assert "failed" in result.stdout
    assert "The model is busy." in result.stdout
    assert result.stdout.count("line 7") == 2
    document = sidelane("jobs", "show", "one", "--json").json
    assert [failure["attempt"] for failure in document["history"]] == [1, 2]
    assert document["history"][0]["traceback"] == FAILURE.traceback
    assert document["problem"]["status"] == 502


def test_show_prints_what_the_attempts_of_a_job_used(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    used = Usage(input_tokens=1200, output_tokens=340, cost=0.0125)
    driver.finish(driver.claim("one"), Retried(FAILURE), usage=used)
    driver.finish(driver.claim("one"), Succeeded("1"), usage=used)
    document = sidelane("jobs", "show", "one", "--json").json
    assert document["usage"] == {"input_tokens": 2400, "output_tokens": 680, "cost": 0.025}
    used_line = re.search(r"used +(.+)", sidelane("jobs", "show", "one").stdout)
    assert used_line
    assert used_line[1].startswith("2,400 input tokens, 680 output tokens, ")
    assert used_line[1].rstrip().endswith(" tokens/s, cost 0.025")


def test_a_job_that_used_nothing_shows_no_usage(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    driver.finish(driver.claim("one"), Succeeded("1"))
    assert "used" not in sidelane("jobs", "show", "one").stdout
    document = sidelane("jobs", "show", "one", "--json").json
    assert (document["usage"], document["tokens_per_second"]) == (None, None)


def test_a_list_shows_the_errors_of_failed_and_retrying_jobs(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("failed", FAILURE)
    driver.submit("again")
    driver.finish(driver.claim("again"), Retried(FAILURE, 600.0))
    driver.submit("expired", expires=0.0)
    driver.call(lambda store: store.sweep(lease=60.0))
    lines = {line.split()[0]: line for line in sidelane("jobs", "list").stdout.splitlines()[1:]}
    assert "APIError: 429" in lines["failed"]
    assert "min  APIError: 429" in lines["again"]
    assert "APIError" not in lines["expired"]
    errors = {job["id"]: job["error"] for job in sidelane("jobs", "list", "--json").json}
    assert errors == {"failed": "APIError: 429", "again": "APIError: 429", "expired": None}


def test_show_prints_the_error_before_what_clients_see(driver: StoreDriver, sidelane: Command) -> None:
    driver.fail("one", FAILURE)
    result = sidelane("jobs", "show", "one").stdout
    assert result.index("APIError: 429") < result.index("Problem, as clients see it") < result.index("model is busy")


def test_show_prints_the_worker_of_a_running_job(driver: StoreDriver, sidelane: Command) -> None:
    lease = driver.claim(driver.submit("one"))
    driver.emit(lease, NewEvent("token", '{"text":"Because"}'))
    driver.heartbeat(leases=[lease])
    result = sidelane("jobs", "show", "one")
    assert "w1 on box, process 4711" in result.stdout
    assert "Because" in result.stdout
    document = sidelane("jobs", "show", "one", "--json").json
    assert document["running_on"]["pid"] == 4711
    assert document["partial"] == "Because"
    assert document["has_worker"] is True


def test_show_prints_where_a_job_was_dispatched_and_until_when(driver: StoreDriver, sidelane: Command) -> None:
    lease = driver.claim(driver.submit("one"))
    message = {"job": "one", "attempt": 1, "nonce": lease.nonce, "to": "SQS queue jobs", "arguments": None}
    sending = JobSpec(
        id=dispatch_id(lease),
        task=DISPATCH_TASK,
        queue="chat",
        parent="one",
        deadline=600,
        arguments=json.dumps(message),
    )
    driver.finish(lease, Dispatched(600, sending))
    assert "dispatched" in sidelane("jobs", "list").stdout
    result = sidelane("jobs", "show", "one")
    assert "to SQS queue jobs, until" in result.stdout
    assert "not sent yet: job one.1.sent sends it" in result.stdout
    document = sidelane("jobs", "show", "one", "--json").json
    assert (document["dispatched"]["to"], document["has_worker"]) == ("SQS queue jobs", True)
    driver.finish(driver.claim(sending.id), Succeeded("null"))
    result = sidelane("jobs", "show", "one")
    assert ("not sent" in result.stdout, "to SQS queue jobs, until" in result.stdout) == (False, True)


def test_show_warns_if_the_worker_of_a_running_job_is_dead(driver: StoreDriver, sidelane: Command) -> None:
    driver.claim(driver.submit("one"))
    result = sidelane("jobs", "show", "one")
    assert "'w1' is no longer alive" in result.stdout
    assert sidelane("jobs", "show", "one", "--json").json["has_worker"] is False


def test_show_explains_why_no_live_worker_can_run_a_job(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    assert "no worker is alive" in sidelane("jobs", "show", "one").stdout
    driver.heartbeat()
    assert "!" not in sidelane("jobs", "show", "one").stdout
    driver.submit("elsewhere", queue="mail")
    assert "no live worker takes jobs of queue 'mail'" in sidelane("jobs", "show", "elsewhere").stdout
    driver.submit("unknown", task="sing")
    assert "knows task 'sing'" in sidelane("jobs", "show", "unknown").stdout
    driver.submit("newer", version=2)
    assert "waits for version 2" in sidelane("jobs", "show", "newer").stdout


def test_show_warns_if_the_queue_is_paused(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    driver.heartbeat()
    sidelane("queues", "pause", "chat")
    assert "queue 'chat' is paused" in sidelane("jobs", "show", "one").stdout
    sidelane("queues", "resume", "chat")
    assert "paused" not in sidelane("jobs", "show", "one").stdout


def test_show_prints_the_position_in_the_queue(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    driver.submit("two")
    assert "next in its queue" in sidelane("jobs", "show", "one").stdout
    assert sidelane("jobs", "show", "two", "--json").json["position"] == 1


def test_show_prints_the_estimated_wait(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    driver.submit("two")
    assert sidelane("jobs", "show", "two", "--json").json["wait"] is None
    driver.claim(driver.submit("started", queue="chat"))  # the wait is estimated from the starts of the queue
    assert sidelane("jobs", "show", "two", "--json").json["wait"] > 0
    assert "1 ahead; estimated wait " in sidelane("jobs", "show", "two").stdout


def test_show_prints_parent_and_follow_ups(driver: StoreDriver, sidelane: Command) -> None:
    then = FollowUp(frozenset({State.SUCCEEDED}), JobSpec(id="", task="publish", queue="chat"))
    on_failure = FollowUp(frozenset({State.FAILED}), JobSpec(id="", task="complain", queue="chat"))
    driver.call(lambda store: store.open_batch(BatchSpec(id="night")))
    driver.submit("one")
    driver.submit(
        "two", parent="one", cascade=True, batch="night", placeholders={"text": "result"}, follow_ups=(then, on_failure)
    )  # fmt: skip
    facts = dict(re.findall(r"^  (\S.*?)  +(\S.*)$", sidelane("jobs", "show", "two").stdout, re.MULTILINE))
    assert facts["parent"] == "one, cancelled with it"
    assert facts["batch"] == "night"
    assert facts["placeholders"] == "text: result of the parent"
    assert (facts["then"], facts["on failure"]) == ("publish", "complain")
    document = sidelane("jobs", "show", "two", "--json").json
    assert [(follow_up["on"], follow_up["task"]) for follow_up in document["follow_ups"]] == [
        (["succeeded"], "publish"),
        (["failed"], "complain"),
    ]
    assert (document["placeholders"], document["cascade"], document["batch"]) == ({"text": "result"}, True, "night")


def test_an_unknown_job_exits_with_4(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    for command in ("show", "watch", "cancel", "requeue"):
        result = sidelane("jobs", command, "nothing")
        assert result.exit_code == 4, command
        assert "no such job" in result.stderr or "no job 'nothing'" in result.stderr
        assert "Traceback" not in result.stderr


def test_cancel_ends_queued_jobs_and_asks_running_ones_to_stop(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("waiting")
    driver.claim(driver.submit("running"))
    driver.finish(driver.claim(driver.submit("done")), Succeeded("1"))
    result = sidelane("jobs", "cancel", "waiting", "running", "done")
    assert result.exit_code == 0
    assert result.stdout.splitlines() == [
        "✓ waiting  cancelled",
        "✓ running  running: cancellation requested",
        "✓ done  already finished (succeeded)",
    ]
    assert driver.record("waiting").state is State.CANCELLED
    assert driver.record("running").cancel_requested


def test_an_unknown_id_does_not_stop_the_others_from_being_cancelled(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("jobs", "cancel", "nothing", "one", "--json")
    assert result.exit_code == 4
    assert [(answer["id"], answer["done"]) for answer in result.json] == [("nothing", False), ("one", True)]
    assert driver.record("one").state is State.CANCELLED


def test_requeue_returns_a_finished_job_to_its_queue(driver: StoreDriver, sidelane: Command) -> None:
    driver.finish(driver.claim(driver.submit("one")), Failed(FAILURE))
    assert sidelane("jobs", "requeue", "one").stdout == "✓ one  requeued\n"
    assert driver.record("one").state is State.QUEUED
    assert "unchanged" in sidelane("jobs", "requeue", "one").stdout


@pytest.mark.usefixtures("modules")
def test_requeue_with_new_arguments_checks_them_by_the_task(driver: StoreDriver, sidelane: Command) -> None:
    driver.finish(driver.claim(driver.submit("one")), Failed(FAILURE))
    wrong = sidelane("jobs", "requeue", "one", "--lane", "shop.lane:lane", "--input", '{"wrong": 1}')
    assert wrong.exit_code != 0
    assert "does not fit task 'answer'" in wrong.stderr
    assert sidelane("jobs", "requeue", "one", "--input", '{"question": "How?"}').stdout == "✓ one  requeued\n"
    assert sidelane("jobs", "show", "one", "--json").json["arguments"] == {"question": "How?"}
    two = sidelane("jobs", "requeue", "one", "two", "--input", "{}")
    assert "exactly one job" in two.stderr


def test_duplicate_submits_a_new_job_like_another(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one", user="ann", key="k", labels={"plan": "pro"}, unique="u", delay=600)
    copy = sidelane("jobs", "duplicate", "one", "--input", '{"question": "How?"}', "--json").json
    assert copy["id"] != "one"
    assert (copy["user"], copy["key"], copy["labels"], copy["unique"]) == ("ann", "k", {"plan": "pro"}, None)
    assert (copy["arguments"], copy["due"]) == ({"question": "How?"}, None)
    assert "submitted to queue chat" in sidelane("jobs", "duplicate", "one").stdout


@pytest.mark.usefixtures("modules")
def test_submit_makes_a_job_of_a_task(sidelane: Command, driver: StoreDriver) -> None:
    driver.submit("other")
    job = sidelane(
        "jobs",
        "submit",
        "answer",
        "--lane",
        "shop.lane:lane",
        "--input",
        '{"question":"Why?"}',
        "--user",
        "ann",
        "--json",
    ).json
    assert (job["task"], job["user"], job["arguments"]) == ("answer", "ann", {"question": "Why?"})
    wrong = sidelane("jobs", "submit", "answer", "--lane", "shop.lane:lane")
    assert "question" in wrong.stderr
    unknown = sidelane("jobs", "submit", "nothing", "--lane", "shop.lane:lane")
    assert "the lane has no task 'nothing'" in " ".join(unknown.stderr.split())


def test_a_rejected_requeue_prints_the_reason(driver: StoreDriver, sidelane: Command) -> None:
    driver.finish(driver.claim(driver.submit("old", unique="report")), Failed(FAILURE))
    driver.submit("new", unique="report")
    result = sidelane("jobs", "requeue", "old")
    assert result.exit_code == 1
    assert "not requeued" in result.stderr


def test_workers_are_listed_with_their_health_and_slots(driver: StoreDriver, sidelane: Command) -> None:
    driver.heartbeat()
    result = sidelane("workers")
    assert result.exit_code == 0
    assert "w1" in result.stdout
    assert "ok" in result.stdout
    assert "1 of 200" in result.stdout
    assert "chat, gpu (1)" in result.stdout
    (worker,) = sidelane("workers", "--json").json
    assert worker["pid"] == WORKER.pid
    assert worker["queues"] == {"chat": 200, "gpu": 1}


def test_a_workers_health_is_complete_on_a_narrow_terminal(driver: StoreDriver, sidelane: Command) -> None:
    health = "cannot receive the messages of consumer 'requests' (SQS queue requests): the queue does not exist"
    driver.heartbeat(replace(WORKER, health=health))
    result = sidelane("workers", env={"COLUMNS": "80"})
    assert f"w1: {health}" in " ".join(result.stderr.split())


def test_workers_warns_about_queues_without_a_worker(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one", queue="mail")
    result = sidelane("workers")
    assert result.exit_code == 0
    assert "No worker is alive" in result.stderr
    assert "1 job waits in queue 'mail'" in result.stderr


def test_reading_a_missing_store_does_not_create_it(sidelane: Command, driver: StoreDriver) -> None:
    for command in (["jobs", "list"], ["jobs", "show", "x"], ["workers"]):
        result = sidelane(*command)
        assert result.exit_code == 3
        assert "There is no store at" in result.stderr
    elsewhere = f"{driver.url}.other"
    driver.submit("one")
    assert sidelane("jobs", "list", "--store", elsewhere).exit_code == 3
    assert sidelane("jobs", "list").exit_code == 0


def test_an_invalid_label_is_a_usage_error(driver: StoreDriver, sidelane: Command) -> None:
    assert sidelane("jobs", "list", "--label", "red").exit_code == 2


def test_json_has_no_colours_even_if_they_are_forced(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("jobs", "list", "--json", env={"FORCE_COLOR": "1"})
    assert json.loads(result.stdout)[0]["id"] == "one"


def test_colours_can_be_forced_and_disabled(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    assert "\x1b[" not in sidelane("jobs", "list").stdout
    assert "\x1b[33m" in sidelane("jobs", "list", env={"FORCE_COLOR": "1"}).stdout
    assert "\x1b[33m" not in sidelane("jobs", "list", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).stdout
