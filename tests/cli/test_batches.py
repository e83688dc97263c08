"""`sidelane batches`: list, show, watch, pause, resume and cancel."""

import json

import pytest

from sidelane.cli.output.batch_detail import batch_line, segments
from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.job import Failure, FollowUp, JobSpec, State
from sidelane.model.outcome import Failed, Succeeded
from sidelane.model.problem import Problem
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.store_driver import StoreDriver

FAILURE = Failure(problem=Problem(status=502), error="APIError: 429")
NOTIFY = FollowUp(frozenset({State.SUCCEEDED}), JobSpec(id="", task="notify", queue="mail"))


def batch(driver: StoreDriver, *ids: str, sealed: bool = True) -> str:
    """Create a batch of these jobs."""
    driver.call(lambda store: store.open_batch(BatchSpec(id="night", user="ann", follow_ups=(NOTIFY,))))
    for job_id in ids:
        driver.submit(job_id, batch="night")
    if sealed:
        driver.call(lambda store: store.seal_batch("night"))
    return "night"


def succeed(driver: StoreDriver, job_id: str) -> None:
    driver.finish(driver.claim(job_id), Succeeded("1"))


def test_show_counts_a_batchs_jobs_by_state(driver: StoreDriver, sidelane: Command) -> None:
    batch(driver, "one", "two", "three")
    succeed(driver, "one")
    driver.finish(driver.claim("two"), Failed(FAILURE))
    result = sidelane("batches", "show", "night")
    assert result.exit_code == 0
    assert "running" in result.stdout
    assert "2 of 3, 1 failed" in result.stdout
    assert "sidelane jobs list --batch night" in result.stdout
    document = sidelane("batches", "show", "night", "--json").json
    counts = {name: document[name] for name in ("total", "unfinished", "succeeded", "failed", "cancelled")}
    assert counts == {"total": 3, "unfinished": 1, "succeeded": 1, "failed": 1, "cancelled": 0}
    assert (document["state"], document["user"], document["ended"]) == ("running", "ann", None)
    assert [follow_up["task"] for follow_up in document["follow_ups"]] == ["notify"]


def test_show_says_whether_jobs_can_still_be_added(driver: StoreDriver, sidelane: Command) -> None:
    batch(driver, "one", sealed=False)
    result = sidelane("batches", "show", "night")
    assert "jobs may be added" in result.stdout
    assert "0 of 1 so far" in result.stdout


def test_the_jobs_of_a_batch_can_be_listed(driver: StoreDriver, sidelane: Command) -> None:
    batch(driver, "one", "two")
    driver.submit("other")
    assert [job["id"] for job in sidelane("jobs", "--batch", "night", "--json").json] == ["two", "one"]


def test_watch_of_a_finished_batch_prints_its_state(driver: StoreDriver, sidelane: Command) -> None:
    batch(driver, "one")
    succeed(driver, "one")
    result = sidelane("batches", "watch", "night")
    assert result.exit_code == 0
    assert [json.loads(line)["state"] for line in result.stdout.splitlines()] == ["succeeded"]


def test_watch_exits_with_1_if_a_job_failed(driver: StoreDriver, sidelane: Command) -> None:
    batch(driver, "one")
    driver.finish(driver.claim("one"), Failed(FAILURE))
    assert sidelane("batches", "watch", "night", "--json").exit_code == 1


@pytest.mark.system
def test_watch_prints_each_change_as_a_json_line(driver: StoreDriver, project: Project) -> None:
    batch(driver, "one", "two")
    watching = project.start("batches", "watch", "night")
    watching.wait_for('"succeeded":0')
    succeed(driver, "one")
    watching.wait_for('"succeeded":1')
    succeed(driver, "two")
    assert watching.exit_code() == 0
    documents = [json.loads(line) for line in watching.output.splitlines()]
    assert [document["unfinished"] for document in documents] == [2, 1, 0]
    assert documents[-1]["state"] == "succeeded"


@pytest.mark.system
def test_watch_on_a_terminal_shows_a_live_bar(driver: StoreDriver, project: Project) -> None:
    batch(driver, "one", "two")
    watching = project.start_on_terminal("batches", "watch", "night")
    watching.wait_for("0 of 2")
    succeed(driver, "one")
    watching.wait_for("1 of 2")
    driver.finish(driver.claim("two"), Failed(FAILURE))
    assert watching.exit_code() == 1
    assert "2 of 2, 1 failed" in watching.output
    assert "━" in watching.output


@pytest.mark.parametrize(
    "counts", [(0, 0, 0), (0, 1, 0), (998, 1, 1), (1000, 0, 0), (1, 998, 1), (500, 250, 250), (999, 0, 0), (997, 1, 1)]
)
def test_a_bar_keeps_its_width_and_shows_every_state(counts: tuple[int, int, int]) -> None:
    succeeded, failed, cancelled = counts
    record = BatchRecord(
        spec=BatchSpec(id="night"), submitted=0.0, total=1000, succeeded=succeeded, failed=failed, cancelled=cancelled
    )  # fmt: skip
    bar = segments(record, 20)
    assert bar.plain == "━" * 20
    drawn = {span.style: span.end - span.start for span in bar.spans if span.end > span.start}
    styles = ("green", "red", "magenta", "bright_black")
    for count, style in zip((*counts, record.unfinished), styles, strict=True):
        assert bool(drawn.get(style)) == bool(count), style


def test_a_line_fits_a_narrow_terminal() -> None:
    record = BatchRecord(
        spec=BatchSpec(id="night"), submitted=0.0, total=1_234_567, succeeded=234_567, failed=4321, cancelled=987
    )  # fmt: skip
    for width in (40, 80, 120):
        assert batch_line(record, 100_000.0, width).cell_len <= width


def test_cancel_ends_queued_jobs_and_asks_running_ones_to_stop(driver: StoreDriver, sidelane: Command) -> None:
    batch(driver, "ended", "running", "waiting", sealed=False)
    succeed(driver, "ended")
    driver.claim("running")
    result = sidelane("batches", "cancel", "night")
    assert result.exit_code == 0
    assert result.stdout == "✓ night  1 cancelled, 1 running: cancellation requested\n"
    assert driver.record("waiting").state is State.CANCELLED
    assert driver.record("running").cancel_requested
    assert driver.record("ended").state is State.SUCCEEDED
    assert sidelane("batches", "show", "night", "--json").json["sealed"]


def test_cancel_of_a_finished_batch_changes_nothing(driver: StoreDriver, sidelane: Command) -> None:
    batch(driver, "one")
    succeed(driver, "one")
    (answer,) = sidelane("batches", "cancel", "night", "--json").json
    assert answer["message"] == "already finished (succeeded)"
    assert answer["batch"]["succeeded"] == 1


def test_an_unknown_batch_exits_with_4(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    for verb in ("show", "watch", "cancel", "pause", "resume"):
        result = sidelane("batches", verb, "day")
        assert result.exit_code == 4, verb
        assert "no batch" in result.stderr or "no such batch" in result.stderr


def test_paused_batch_starts_no_job_until_it_is_resumed(driver: StoreDriver, sidelane: Command) -> None:
    batch(driver, "one", "two")
    paused = sidelane("batches", "pause", "night", "--reason", "bad prompts", "--for", "2h")
    assert paused.stdout == "✓ night  paused for 2 h; unfinished jobs: 2\n"
    assert driver.try_claim("one") == ()
    assert driver.record("one").waiting_for_batch
    assert sidelane("jobs", "list", "--state", "paused", "--json").json[0]["id"] == "one"
    listed = sidelane("batches", env={"COLUMNS": "80"})
    assert "‖ paused" in listed.stdout
    assert '"bad prompts"' in listed.stderr
    assert max(map(len, listed.stdout.splitlines())) <= 80
    assert '"bad prompts", 2 h left' in sidelane("batches", "show", "night").stdout
    (document,) = sidelane("batches", "--json").json
    assert (document["paused"], document["pause"]["reason"]) == (True, "bad prompts")
    assert "batch night is paused" in sidelane("jobs", "why", "one").stdout
    assert "1 job of paused batches in chat" in sidelane("queues").stderr
    assert sidelane("batches", "resume", "night").stdout == "✓ night  resumed; unfinished jobs: 2\n"
    assert [claimed.record.id for claimed in driver.try_claim("one")] == ["one"]
    assert [line["action"] for line in sidelane("audit", "--json").json] == ["batch.resume", "batch.pause"]


def test_list_shows_the_batches_of_the_newest_jobs(driver: StoreDriver, sidelane: Command) -> None:
    batch(driver, "one", "two")
    driver.finish(driver.claim("two"), Failed(FAILURE))
    result = sidelane("batches", env={"COLUMNS": "80"})
    assert result.exit_code == 0
    header, row = result.stdout.splitlines()
    assert header.split() == ["ID", "STATE", "JOBS", "FAILED", "USER", "SUBMITTED"]
    assert "night" in row
    assert "1 of 2" in row
    assert [(each["id"], each["failed"]) for each in sidelane("batches", "list", "--json").json] == [("night", 1)]


def test_list_without_batches_says_so(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    assert "None of the newest 1,000 jobs" in sidelane("batches").stderr
    assert sidelane("batches", "--json").json == []
