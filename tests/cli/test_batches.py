"""`sidelane batches`: show, watch and cancel jobs that were submitted together."""

import json

import pytest

from sidelane.cli.output.batch_detail import batch_line, segments
from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.model.job import Failure, FollowUp, JobSpec, State
from sidelane.model.outcome import Failed, Succeeded
from sidelane.model.problem import Problem
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.shelf import Shelf

FAILURE = Failure(problem=Problem(status=502), error="APIError: 429")
TELL = FollowUp(frozenset({State.SUCCEEDED}), JobSpec(id="", task="tell", queue="mail"))


def batch(shelf: Shelf, *ids: str, sealed: bool = True) -> str:
    """Make a batch of these jobs."""
    shelf.call(lambda store: store.open_batch(BatchSpec(id="night", user="ann", follow_ups=(TELL,))))
    for job_id in ids:
        shelf.submit(job_id, batch="night")
    if sealed:
        shelf.call(lambda store: store.seal_batch("night"))
    return "night"


def succeed(shelf: Shelf, job_id: str) -> None:
    shelf.finish(shelf.claim(job_id), Succeeded("1"))


def test_show_counts_a_batchs_jobs_by_how_they_ended(shelf: Shelf, sidelane: Command) -> None:
    batch(shelf, "one", "two", "three")
    succeed(shelf, "one")
    shelf.finish(shelf.claim("two"), Failed(FAILURE))
    said = sidelane("batches", "show", "night")
    assert said.code == 0
    assert "running" in said.out
    assert "2 of 3, 1 failed" in said.out
    assert "sidelane jobs list --batch night" in said.out
    document = sidelane("batches", "show", "night", "--json").json
    counts = {name: document[name] for name in ("total", "unfinished", "succeeded", "failed", "cancelled")}
    assert counts == {"total": 3, "unfinished": 1, "succeeded": 1, "failed": 1, "cancelled": 0}
    assert (document["state"], document["user"], document["ended"]) == ("running", "ann", None)
    assert [follow_up["task"] for follow_up in document["follow_ups"]] == ["tell"]


def test_show_says_whether_jobs_may_still_join(shelf: Shelf, sidelane: Command) -> None:
    batch(shelf, "one", sealed=False)
    said = sidelane("batches", "show", "night")
    assert "jobs may still join" in said.out
    assert "0 of 1 so far" in said.out


def test_the_jobs_of_a_batch_can_be_listed(shelf: Shelf, sidelane: Command) -> None:
    batch(shelf, "one", "two")
    shelf.submit("other")
    assert [job["id"] for job in sidelane("jobs", "--batch", "night", "--json").json] == ["two", "one"]


def test_a_watch_of_a_batch_that_has_ended_says_how(shelf: Shelf, sidelane: Command) -> None:
    batch(shelf, "one")
    succeed(shelf, "one")
    said = sidelane("batches", "watch", "night")
    assert said.code == 0
    assert [json.loads(line)["state"] for line in said.out.splitlines()] == ["succeeded"]


def test_a_watch_ends_with_1_where_a_job_failed(shelf: Shelf, sidelane: Command) -> None:
    batch(shelf, "one")
    shelf.finish(shelf.claim("one"), Failed(FAILURE))
    assert sidelane("batches", "watch", "night", "--json").code == 1


@pytest.mark.system
def test_a_watch_tells_of_each_change_to_another_program(shelf: Shelf, project: Project) -> None:
    batch(shelf, "one", "two")
    watching = project.start("batches", "watch", "night")
    watching.says('"succeeded":0')
    succeed(shelf, "one")
    watching.says('"succeeded":1')
    succeed(shelf, "two")
    assert watching.exit_code() == 0
    documents = [json.loads(line) for line in watching.said.splitlines()]
    assert [document["unfinished"] for document in documents] == [2, 1, 0]
    assert documents[-1]["state"] == "succeeded"


@pytest.mark.system
def test_a_watch_on_a_terminal_is_a_bar_that_moves(shelf: Shelf, project: Project) -> None:
    batch(shelf, "one", "two")
    watching = project.terminal("batches", "watch", "night")
    watching.says("0 of 2")
    succeed(shelf, "one")
    watching.says("1 of 2")
    shelf.finish(shelf.claim("two"), Failed(FAILURE))
    assert watching.exit_code() == 1
    assert "2 of 2, 1 failed" in watching.said
    assert "━" in watching.said


@pytest.mark.parametrize(
    "counts", [(0, 0, 0), (0, 1, 0), (998, 1, 1), (1000, 0, 0), (1, 998, 1), (500, 250, 250), (999, 0, 0), (997, 1, 1)]
)
def test_a_bar_has_its_width_and_shows_each_kind_there_is(counts: tuple[int, int, int]) -> None:
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


def test_cancel_ends_what_waits_and_asks_what_runs_to_stop(shelf: Shelf, sidelane: Command) -> None:
    batch(shelf, "ended", "running", "waiting", sealed=False)
    succeed(shelf, "ended")
    shelf.claim("running")
    said = sidelane("batches", "cancel", "night")
    assert said.code == 0
    assert said.out == "✓ night  1 cancelled, 1 running asked to stop\n"
    assert shelf.record("waiting").state is State.CANCELLED
    assert shelf.record("running").cancel_requested
    assert shelf.record("ended").state is State.SUCCEEDED
    assert sidelane("batches", "show", "night", "--json").json["sealed"]


def test_cancel_of_a_batch_that_has_ended_changes_nothing(shelf: Shelf, sidelane: Command) -> None:
    batch(shelf, "one")
    succeed(shelf, "one")
    (answer,) = sidelane("batches", "cancel", "night", "--json").json
    assert answer["answer"] == "had ended already (succeeded)"
    assert answer["batch"]["succeeded"] == 1


def test_an_unknown_batch_has_the_exit_code_of_what_is_not_there(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("one")
    for verb in ("show", "watch", "cancel"):
        said = sidelane("batches", verb, "day")
        assert said.code == 4, verb
        assert "There is no batch 'day'" in said.err
