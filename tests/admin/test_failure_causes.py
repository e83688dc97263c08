"""Causes of failures, from made-up records."""

from sidelane.admin.failure_causes import failure_causes
from sidelane.model.job import Failure, JobRecord, JobSpec, State
from sidelane.model.problem import Problem


def failed(error: str, release: str, ended: float) -> JobRecord:
    problem = Problem(status=500)
    return JobRecord(
        spec=JobSpec(id=f"{ended:.0f}", task="answer"), sequence=1, state=State.FAILED, submitted=0.0, ended=ended,
        problem=problem, history=(Failure(problem=problem, error=error),), last_worker="w", release=release,
    )  # fmt: skip


def test_errors_that_differ_by_numbers_only_have_one_cause_on_each_release() -> None:
    first, second = failed("TimeoutError: after 31 s", "r1", 10), failed("TimeoutError: after 32 s", "r1", 20)
    other, newer = failed("KeyError: 'x'", "r1", 30), failed("TimeoutError: after 9 s", "r2", 40)
    causes = failure_causes([newer, second, other, first])
    assert [(each.release, len(each.records)) for each in causes] == [("r1", 2), ("r2", 1), ("r1", 1)]
    assert (causes[0].first, causes[0].newest.ended) == (10, 20)


def test_job_that_failed_without_an_error_has_a_cause_too() -> None:
    (cause,) = failure_causes([failed("", "", 1)])
    assert "500" in cause.error
