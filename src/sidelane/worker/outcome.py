"""From what a task raised to how its attempt ended: the one place that decides between retry and failure."""

import logging
import os
import sys
import traceback
from dataclasses import replace
from pathlib import Path

from pydantic_core import to_jsonable_python

from sidelane.model.errors import ArgumentsMismatch, PayloadTooLarge, PermanentFailure, RetryLater, SidelaneError
from sidelane.model.job import Failure
from sidelane.model.outcome import Failed, Lost, Outcome, Released, Retried
from sidelane.model.problem import Problem
from sidelane.model.retry import Retry
from sidelane.tasks.registry import Registry

MAX_TRACEBACK_LENGTH = 16_384

INTERNAL_ERROR = Problem(status=500, title="Task failed", detail="The task failed with an error it did not explain.")

logger = logging.getLogger(__name__)

PACKAGE_PATH = str(Path(__file__).parent.parent) + os.sep


class TimedOut(SidelaneError):
    """The attempt ran longer than its task's timeout."""

    status = 504

    def problem(self) -> Problem:
        return Problem(status=504, title="Timed out", detail=str(self))


class DeadlinePassed(TimedOut):
    """The job's deadline passed while it ran."""

    def problem(self) -> Problem:
        return Problem(status=504, title="Deadline passed", detail=str(self))


class WrongResult(SidelaneError):
    """What the task gave is not of the type it declares."""

    def problem(self) -> Problem:
        return Problem(status=500, title="Wrong result", detail=str(self))


class ProcessDied(SidelaneError):
    """The child process that ran the task died unasked: a loss, not a failure (rules 7)."""

    def problem(self) -> Problem:
        return Problem(status=500, title="Process died", detail=str(self))


class ProcessNotReady(SidelaneError):
    """A child process did not get ready in time, and was killed."""

    def problem(self) -> Problem:
        return Problem(status=500, title="Process not ready", detail=str(self))


def classify_error(error: BaseException, *, failures: int | None, retry: Retry, registry: Registry) -> Outcome:
    """Say how an attempt that raised `error` ended; `failures` counts the ones before this one (None: someone else counts them).

    Clients see the problem; the error's own words and its traceback stay with the operators unless a rule, an HTTPException
    or `GiveUp` made them public. Sidelane's own errors are no exception: they may name files and hosts.
    """
    if isinstance(error, RetryLater):
        return Released(error.delay)
    if isinstance(error, ProcessDied):
        return Lost(Failure(problem=error.problem(), error=_line(error)))
    try:
        problem, final = _problem(error, registry)
    except Exception as wrong:
        logger.exception("the function that explains %s to clients failed", type(error).__name__)
        error.add_note(f"Explaining it failed: {wrong!r}")
        problem, final = INTERNAL_ERROR, False
    failure = Failure(problem=problem, error=_line(error), traceback=_trace(error))
    if final or not retry.is_retryable(error):
        return Failed(failure)
    delay = 0.0 if failures is None else retry.next_delay(failures + 1, error)
    return Failed(failure) if delay is None else Retried(failure, delay)


def add_job_context(outcome: Outcome, job_id: str, attempt: int) -> Outcome:
    """Add to an outcome's problem which job and attempt it is about, and make JSON of whatever a task has put into it."""
    if not isinstance(outcome, Failed | Retried | Lost):
        return outcome
    problem = outcome.failure.problem
    extra = to_jsonable_python(dict(problem.extra), fallback=str, inf_nan_mode="strings")
    named = replace(problem, extra={**extra, "job_id": job_id, "attempt": attempt})
    return replace(outcome, failure=replace(outcome.failure, problem=named))


def log_outcome(job_id: str, task: str, attempt: int, outcome: Outcome, *, offered: bool = False) -> None:
    """Tell the log how an attempt ended: a failure as a warning, with its traceback. `offered`: it was for others to count."""
    if isinstance(outcome, Failed | Retried):
        again = f"again in {outcome.delay:.1f} s" if isinstance(outcome, Retried) else "for good"
        if offered and isinstance(outcome, Retried):
            again = "here: whoever offered it decides on another"
        logger.warning(
            "job %s (%s) attempt %d failed %s: %s", job_id, task, attempt, again, outcome.failure.error,
            extra={"traceback": outcome.failure.traceback},
        )  # fmt: skip
    elif isinstance(outcome, Lost):
        logger.warning("job %s (%s) attempt %d was lost: %s", job_id, task, attempt, outcome.failure.error)
    elif logger.isEnabledFor(logging.DEBUG):
        logger.debug("job %s (%s) attempt %d: %s", job_id, task, attempt, type(outcome).__name__)


def _problem(error: BaseException, registry: Registry) -> tuple[Problem, bool]:
    rule = registry.problem_rule(error)
    if rule is not None:
        return rule.problem(error), rule.final
    if isinstance(error, PermanentFailure | ArgumentsMismatch | PayloadTooLarge | DeadlinePassed):
        return error.problem(), True
    if isinstance(error, TimedOut | WrongResult | ProcessNotReady):
        return error.problem(), False
    http = _http_problem(error)
    if http is not None:
        return http, True
    return INTERNAL_ERROR, False


def _http_problem(error: BaseException) -> Problem | None:
    """Read FastAPI's own HTTPException, if the task's process has loaded it: the core itself does without FastAPI."""
    module = sys.modules.get("starlette.exceptions")
    if module is None or not isinstance(error, module.HTTPException):
        return None
    detail = error.detail
    if isinstance(detail, str):
        return Problem(status=error.status_code, detail=detail)
    return Problem(status=error.status_code, extra={"errors": detail})


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


def _trace(error: BaseException) -> str:
    """Write the traceback from the task's own code on: the frames of this package before it tell its author nothing.

    An error of ours that no code of the task's has raised says all there is to it, but for the one it was raised from.
    """
    frame = error.__traceback__
    while frame is not None and frame.tb_frame.f_code.co_filename.startswith(PACKAGE_PATH):
        frame = frame.tb_next
    if frame is None and isinstance(error, SidelaneError):
        if error.__cause__ is not None:
            return _trace(error.__cause__)
        if error.__context__ is None or error.__suppress_context__:
            return ""
    return "".join(traceback.format_exception(type(error), error, frame or error.__traceback__))[-MAX_TRACEBACK_LENGTH:]
