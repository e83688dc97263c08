"""Options that do not exist: they are refused at once, with the option to write instead."""

from collections.abc import Callable
from typing import Any

import pytest

from sidelane import ArgumentsError, FinishedJob, Sidelane, Sqs
from sidelane.model.errors import TaskDeclarationError

Declare = Callable[[Sidelane, dict[str, Any]], object]


async def note() -> None: ...


async def letter(letter: FinishedJob) -> None: ...


def declare_external(lane: Sidelane, options: dict[str, Any]) -> object:
    return lane.external_task("note", input=int, result=int, send_to=Sqs("a"), replies_from=Sqs("b"), **options)


DECLARE: list[Declare] = [
    lambda lane, options: lane.task(**options)(note),
    lambda lane, options: lane.dead_letter(**{"name": "note", **options})(letter),
    declare_external,
]


@pytest.mark.parametrize("declare", DECLARE, ids=["task", "dead letter", "external task"])
@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("timeot", "did you mean `timeout`?"),
        ("retrys", "did you mean `retry`?"),
        ("max_worker_loses", "did you mean `max_worker_losses`?"),
        ("retries", "did you mean `retry=Retry(attempts=…)`?"),
        ("max_retries", "did you mean `retry=Retry(attempts=…)`?"),
        ("max_tries", "did you mean `retry=Retry(attempts=…)`?"),
        ("autoretry_for", "did you mean `retry=Retry(only=…)`?"),
        ("acks_late", "did you mean `max_worker_losses`?"),
        ("soft_time_limit", "did you mean `timeout`?"),
        ("job_timeout", "did you mean `timeout`?"),
        ("result_ttl", "did you mean `retention`?"),
        ("rate_limit", "did you mean `limits=[RateLimit(…)]`?"),
        ("countdown", "did you mean `delay` of `task.options(…)`?"),
        ("user", "did you mean `user` of `task.options(…)`?"),
    ],
)
def test_an_unknown_option_of_a_task_is_refused_with_the_one_to_write(
    lane: Sidelane, declare: Declare, option: str, instead: str
) -> None:
    with pytest.raises(TaskDeclarationError) as refused:
        declare(lane, {option: 3})
    assert str(refused.value) == f"Task 'note': there is no option `{option}`; {instead}"


def test_an_option_that_resembles_no_other_is_refused_with_all_options(lane: Sidelane) -> None:
    with pytest.raises(
        TaskDeclarationError, match=r"no option `xyz`; the options are aliases, callback, .*, version\.$"
    ):
        lane.task(xyz=3)(note)  # type: ignore[call-overload]


def test_an_external_task_has_neither_a_process_nor_a_second_name(lane: Sidelane) -> None:
    with pytest.raises(TaskDeclarationError, match="no option `process`"):
        declare_external(lane, {"process": True})


@pytest.mark.parametrize(
    ("option", "instead"),
    [
        ("labls", "did you mean `labels`?"),
        ("countdown", "did you mean `delay`?"),
        ("eta", "did you mean `run_at`?"),
        ("_defer_by", "did you mean `delay`?"),
        ("task_id", "did you mean `id`?"),
        ("link_error", "did you mean `on_failure`?"),
        ("timeout", "did you mean `timeout` of `@lane.task(…)`?"),
        ("time_limit", "did you mean `timeout` of `@lane.task(…)`?"),
        ("queue", "did you mean `queue` of `@lane.task(…)`?"),
    ],
)
def test_an_unknown_option_of_a_call_is_refused_with_the_one_to_write(
    lane: Sidelane, option: str, instead: str
) -> None:
    task, wrong = lane.task(note), {option: 3}
    for give in (lambda: task.options(**wrong), lambda: task.call().with_options(**wrong)):  # type: ignore[arg-type]
        with pytest.raises(ArgumentsError) as refused:
            give()
        assert str(refused.value) == f"note: there is no option `{option}`; {instead}"
