"""`sidelane jobs list`, `show`, `cancel` and `requeue`."""

import json
import re
from dataclasses import replace

from sidelane.external.outbox import DISPATCH_TASK, dispatch_id
from sidelane.model.batch import BatchSpec
from sidelane.model.event import NewEvent
from sidelane.model.job import Failure, FollowUp, JobSpec, State
from sidelane.model.limit import Limit
from sidelane.model.outcome import Dispatched, Failed, Retried, Succeeded
from sidelane.model.problem import Problem
from tests.cli.command import Command
from tests.cli.shelf import WORKER, Shelf

LIMIT = Limit(name="answer", key="ann", most=1, on_limit="wait")

LONG = "0123456789abcdef0123456789abcdef"

FAILURE = Failure(
    problem=Problem(status=502, detail="The model is busy."),
    error="APIError: 429",
    traceback="Traceback: line 7\nAPIError: 429",
)


def test_the_bare_name_lists(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    assert [job["id"] for job in sidelane("jobs", "--json", "--limit", "1").json] == ["one"]


def test_the_newest_job_is_listed_first(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("first")
    shelf.submit("second")
    said = sidelane("jobs", "list")
    assert said.code == 0
    assert said.out.index("second") < said.out.index("first")
    assert "queued" in said.out
    assert "just now" in said.out


def test_a_list_is_filtered_by_everything_a_job_is_found_by(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one", user="ann", key="chat:1", labels={"team": "red", "tier": "free"})
    shelf.submit("two", task="analyse", queue="gpu", parent="one")
    shelf.finish(shelf.claim("two"), Succeeded("1"))
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


def test_sidelane_s_own_jobs_are_listed_where_they_are_asked_for(shelf: Shelf, sidelane: Command) -> None:
    for number in range(3):
        shelf.submit(f"job-{number}")
        shelf.submit(f"job-{number}.1.0", task="sidelane.callback", queue="sidelane.callbacks", parent=f"job-{number}")

    def listed(*arguments: str) -> list[str]:
        return [job["id"] for job in sidelane("jobs", "--json", *arguments).json]

    assert listed() == ["job-2", "job-1", "job-0"]
    assert listed("--limit", "2") == ["job-2", "job-1"]
    assert listed("--limit", "2", "--all") == ["job-2.1.0", "job-2"]
    assert listed("--parent", "job-1") == ["job-1.1.0"]
    assert len(listed("--queue", "sidelane.callbacks")) == len(listed("--task", "sidelane.callback")) == 3


def test_a_job_as_json_has_everything_parsed(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one", user="ann", labels={"team": "red"})
    shelf.finish(shelf.claim("one"), Succeeded('{"score":0.5}'))
    (job,) = sidelane("jobs", "list", "--json").json
    assert job["state"] == "succeeded"
    assert job["arguments"] == {"question": "Why?"}
    assert job["result"] == {"score": 0.5}
    assert job["labels"] == {"team": "red"}
    assert job["attempt"] == 1
    assert job["submitted"].endswith("Z")


def test_an_id_is_never_cut_or_wrapped_and_other_columns_go_first(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit(LONG, task="a_task_with_quite_a_long_name_that_nobody_would_type_twice", user="ann")
    narrow = sidelane("jobs", "list", env={"COLUMNS": "80"})
    assert LONG in narrow.out
    assert "USER" not in narrow.out
    assert max(len(line) for line in narrow.out.splitlines()) <= 80
    wide = sidelane("jobs", "list")
    assert "that_nobody_would_type_twice" in wide.out
    assert "ann" in wide.out


def test_a_list_without_jobs_says_where_it_looked(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    said = sidelane("jobs", "list", "--task", "nothing")
    assert said.code == 0
    assert said.out == ""
    assert shelf.url in said.err
    assert sidelane("jobs", "list", "--task", "nothing", "--json").json == []


def test_lists_name_the_view_of_a_state_that_says_more(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("later", delay=600.0)
    shelf.submit("again")
    shelf.finish(shelf.claim("again"), Retried(FAILURE, 600.0))
    shelf.submit("asked")
    shelf.claim("asked")
    sidelane("jobs", "cancel", "asked")
    lines = {line.split()[0]: line for line in sidelane("jobs", "list").out.splitlines()[1:]}
    assert "scheduled" in lines["later"]
    assert "in 9 min" in lines["later"] or "in 10 min" in lines["later"]
    assert "retrying" in lines["again"]
    assert "1 failed" in lines["again"]
    assert "cancelling" in lines["asked"]


def test_a_job_that_waits_at_a_limit_is_listed_as_parked_with_the_limit(shelf: Shelf, sidelane: Command) -> None:
    shelf.claim(shelf.submit("running", limits=(LIMIT,)))
    shelf.submit("waits", limits=(LIMIT,))
    assert shelf.ask_for("waits") == ()
    lines = {line.split()[0]: line for line in sidelane("jobs", "list").out.splitlines()[1:]}
    assert "parked" in lines["waits"]
    assert "limit answer/ann" in lines["waits"]
    assert "parked" not in lines["running"]
    said = sidelane("jobs", "show", "waits")
    assert "parked" in said.out
    (line,) = [line for line in said.out.splitlines() if "answer/ann" in line]
    assert "1 at once, wait" in line
    assert "it waits here" in line
    document = sidelane("jobs", "show", "waits", "--json").json
    assert (document["state"], document["waiting_for_limit"], document["limits"]) == (
        "queued",
        "answer/ann",
        ["answer/ann"],
    )


def test_a_parked_job_that_was_cancelled_is_not_parked_any_more(shelf: Shelf, sidelane: Command) -> None:
    shelf.claim(shelf.submit("running", limits=(LIMIT,)))
    shelf.submit("waits", limits=(LIMIT,))
    shelf.ask_for("waits")
    sidelane("jobs", "cancel", "waits")
    assert "parked" not in sidelane("jobs", "list").out


def test_progress_is_shown_in_lists(shelf: Shelf, sidelane: Command) -> None:
    lease = shelf.claim(shelf.submit("one"))
    shelf.emit(lease, NewEvent("progress", '{"percent":40,"message":"listening"}'))
    said = sidelane("jobs", "list")
    assert "40 %" in said.out
    assert "listening" in said.out


def test_show_tells_operators_each_failure_with_its_traceback(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    shelf.finish(shelf.claim("one"), Retried(FAILURE))
    shelf.finish(shelf.claim("one"), Failed(FAILURE))
    said = sidelane("jobs", "show", "one")
    assert said.code == 0
    assert "failed" in said.out
    assert "The model is busy." in said.out
    assert said.out.count("line 7") == 2
    document = sidelane("jobs", "show", "one", "--json").json
    assert [failure["attempt"] for failure in document["history"]] == [1, 2]
    assert document["history"][0]["traceback"] == FAILURE.traceback
    assert document["problem"]["status"] == 502


def test_show_says_where_a_job_runs(shelf: Shelf, sidelane: Command) -> None:
    lease = shelf.claim(shelf.submit("one"))
    shelf.emit(lease, NewEvent("token", '{"text":"Because"}'))
    shelf.beat(leases=[lease])
    said = sidelane("jobs", "show", "one")
    assert "w1 on box, process 4711" in said.out
    assert "Because" in said.out
    document = sidelane("jobs", "show", "one", "--json").json
    assert document["running_on"]["pid"] == 4711
    assert document["partial"] == "Because"
    assert document["has_worker"] is True


def test_show_says_where_a_job_was_handed_over_to_and_until_when(shelf: Shelf, sidelane: Command) -> None:
    lease = shelf.claim(shelf.submit("one"))
    told = {"job": "one", "attempt": 1, "nonce": lease.nonce, "to": "SQS queue offers", "arguments": None}
    sending = JobSpec(
        id=dispatch_id(lease), task=DISPATCH_TASK, queue="chat", parent="one", deadline=600, arguments=json.dumps(told)
    )
    shelf.finish(lease, Dispatched(600, sending))
    assert "handed over" in sidelane("jobs", "list").out
    said = sidelane("jobs", "show", "one")
    assert "to SQS queue offers, until" in said.out
    assert "not sent yet: job one.1.sent does that" in said.out
    document = sidelane("jobs", "show", "one", "--json").json
    assert (document["dispatched"]["to"], document["has_worker"]) == ("SQS queue offers", True)
    shelf.finish(shelf.claim(sending.id), Succeeded("null"))
    said = sidelane("jobs", "show", "one")
    assert ("not sent" in said.out, "to SQS queue offers, until" in said.out) == (False, True)


def test_show_says_when_the_worker_of_a_running_job_is_not_alive(shelf: Shelf, sidelane: Command) -> None:
    shelf.claim(shelf.submit("one"))
    said = sidelane("jobs", "show", "one")
    assert "'w1' is not alive any more" in said.out
    assert sidelane("jobs", "show", "one", "--json").json["has_worker"] is False


def test_show_says_why_no_live_worker_serves_a_waiting_job(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    assert "no worker is alive" in sidelane("jobs", "show", "one").out
    shelf.beat()
    assert "!" not in sidelane("jobs", "show", "one").out
    shelf.submit("elsewhere", queue="mail")
    assert "no live worker takes jobs of queue 'mail'" in sidelane("jobs", "show", "elsewhere").out
    shelf.submit("unknown", task="sing")
    assert "knows task 'sing'" in sidelane("jobs", "show", "unknown").out
    shelf.submit("newer", version=2)
    assert "waits for version 2" in sidelane("jobs", "show", "newer").out


def test_show_says_when_the_queue_of_a_waiting_job_is_paused(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    shelf.beat()
    sidelane("queues", "pause", "chat")
    assert "queue 'chat' is paused" in sidelane("jobs", "show", "one").out
    sidelane("queues", "resume", "chat")
    assert "paused" not in sidelane("jobs", "show", "one").out


def test_show_tells_a_waiting_jobs_place(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    shelf.submit("two")
    assert "next of its queue" in sidelane("jobs", "show", "one").out
    assert sidelane("jobs", "show", "two", "--json").json["position"] == 1


def test_show_tells_how_long_a_waiting_job_may_still_wait(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    shelf.submit("two")
    assert sidelane("jobs", "show", "two", "--json").json["wait"] is None
    shelf.claim(shelf.submit("started", queue="chat"))  # now its queue moves
    assert sidelane("jobs", "show", "two", "--json").json["wait"] > 0
    assert "1 before it; about " in sidelane("jobs", "show", "two").out


def test_show_tells_what_a_job_follows_and_what_follows_it(shelf: Shelf, sidelane: Command) -> None:
    then = FollowUp(frozenset({State.SUCCEEDED}), JobSpec(id="", task="publish", queue="chat"))
    tell = FollowUp(frozenset({State.FAILED}), JobSpec(id="", task="complain", queue="chat"))
    shelf.call(lambda store: store.open_batch(BatchSpec(id="night")))
    shelf.submit("one")
    shelf.submit(
        "two", parent="one", cascade=True, batch="night", placeholders={"text": "result"}, follow_ups=(then, tell)
    )  # fmt: skip
    facts = dict(re.findall(r"^  (\S.*?)  +(\S.*)$", sidelane("jobs", "show", "two").out, re.MULTILINE))
    assert facts["parent"] == "one, and is cancelled with it"
    assert facts["batch"] == "night"
    assert facts["filled in"] == "text: the result of its parent"
    assert (facts["then"], facts["on failure"]) == ("publish", "complain")
    document = sidelane("jobs", "show", "two", "--json").json
    assert [(follow_up["on"], follow_up["task"]) for follow_up in document["follow_ups"]] == [
        (["succeeded"], "publish"),
        (["failed"], "complain"),
    ]
    assert (document["placeholders"], document["cascade"], document["batch"]) == ({"text": "result"}, True, "night")


def test_an_unknown_job_has_an_exit_code_of_its_own(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    for command in ("show", "watch", "cancel", "requeue"):
        said = sidelane("jobs", command, "nothing")
        assert said.code == 4, command
        assert "no such job" in said.err or "no job 'nothing'" in said.err
        assert "Traceback" not in said.err


def test_cancel_ends_waiting_jobs_and_asks_running_ones_to_stop(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("waiting")
    shelf.claim(shelf.submit("running"))
    shelf.finish(shelf.claim(shelf.submit("done")), Succeeded("1"))
    said = sidelane("jobs", "cancel", "waiting", "running", "done")
    assert said.code == 0
    assert said.out.splitlines() == [
        "✓ waiting  cancelled",
        "✓ running  was asked to stop",
        "✓ done  had ended already (succeeded)",
    ]
    assert shelf.record("waiting").state is State.CANCELLED
    assert shelf.record("running").cancel_requested


def test_one_unknown_id_does_not_keep_the_others_from_being_cancelled(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    said = sidelane("jobs", "cancel", "nothing", "one", "--json")
    assert said.code == 4
    assert [(answer["id"], answer["done"]) for answer in said.json] == [("nothing", False), ("one", True)]
    assert shelf.record("one").state is State.CANCELLED


def test_requeue_brings_a_finished_job_back(shelf: Shelf, sidelane: Command) -> None:
    shelf.finish(shelf.claim(shelf.submit("one")), Failed(FAILURE))
    assert sidelane("jobs", "requeue", "one").out == "✓ one  requeued\n"
    assert shelf.record("one").state is State.QUEUED
    assert "left as it is" in sidelane("jobs", "requeue", "one").out


def test_a_requeue_that_is_refused_says_why(shelf: Shelf, sidelane: Command) -> None:
    shelf.finish(shelf.claim(shelf.submit("old", unique="report")), Failed(FAILURE))
    shelf.submit("new", unique="report")
    said = sidelane("jobs", "requeue", "old")
    assert said.code == 1
    assert "not requeued" in said.err


def test_workers_are_listed_with_their_health_and_slots(shelf: Shelf, sidelane: Command) -> None:
    shelf.beat()
    said = sidelane("workers")
    assert said.code == 0
    assert "w1" in said.out
    assert "ok" in said.out
    assert "1 of 200" in said.out
    assert "chat, gpu (1)" in said.out
    (worker,) = sidelane("workers", "--json").json
    assert worker["pid"] == WORKER.pid
    assert worker["queues"] == {"chat": 200, "gpu": 1}


def test_what_is_wrong_with_a_worker_is_there_whole_on_a_narrow_terminal(shelf: Shelf, sidelane: Command) -> None:
    trouble = "cannot receive the messages of intake 'requests' (SQS queue requests): it does not exist there"
    shelf.beat(replace(WORKER, health=trouble))
    said = sidelane("workers", env={"COLUMNS": "80"})
    assert f"w1: {trouble}" in " ".join(said.err.split())


def test_workers_says_which_queues_nobody_serves(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one", queue="mail")
    said = sidelane("workers")
    assert said.code == 0
    assert "No worker is alive" in said.err
    assert "1 job waits in queue 'mail'" in said.err


def test_nothing_is_written_where_there_is_no_store_yet(sidelane: Command, shelf: Shelf) -> None:
    for command in (["jobs", "list"], ["jobs", "show", "x"], ["workers"]):
        said = sidelane(*command)
        assert said.code == 3
        assert "Nothing has been kept at" in said.err
    elsewhere = f"{shelf.url}.other"
    shelf.submit("one")
    assert sidelane("jobs", "list", "--store", elsewhere).code == 3
    assert sidelane("jobs", "list").code == 0


def test_a_label_that_is_none_is_wrong_usage(shelf: Shelf, sidelane: Command) -> None:
    assert sidelane("jobs", "list", "--label", "red").code == 2


def test_documents_are_plain_json_even_where_colours_are_forced(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    said = sidelane("jobs", "list", "--json", env={"FORCE_COLOR": "1"})
    assert json.loads(said.out)[0]["id"] == "one"


def test_colours_are_for_terminals_and_can_be_forced_and_forbidden(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    assert "\x1b[" not in sidelane("jobs", "list").out
    assert "\x1b[33m" in sidelane("jobs", "list", env={"FORCE_COLOR": "1"}).out
    assert "\x1b[33m" not in sidelane("jobs", "list", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).out
