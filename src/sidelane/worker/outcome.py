"""Outcomes of attempts. An error becomes a retry or a failure, and all ends are reported here."""

import logging
import os
import sys
import traceback
from contextlib import suppress
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

from pydantic_core import to_jsonable_python

from sidelane.model.errors import ArgumentsMismatch, PayloadTooLarge, PermanentFailure, RetryLater, SidelaneError
from sidelane.model.job import Failure, JobRecord
from sidelane.model.outcome import Failed, Lost, Outcome, Released, Retried, Succeeded
from sidelane.model.problem import Problem
from sidelane.model.retry import Retry
from sidelane.tasks.registry import Registry

MAX_TRACEBACK_LENGTH = 16_384

MAX_CAUSES = 20
"""Causes of an error that are looked at."""

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
    """The task's result is not of its declared type."""

    def problem(self) -> Problem:
        return Problem(status=500, title="Wrong result", detail=str(self))


class ProcessDied(SidelaneError):
    """The child process that ran the task died unexpectedly: a worker loss, not a failure (rule 7)."""

    def problem(self) -> Problem:
        return Problem(status=500, title="Process died", detail=str(self))


class ProcessNotReady(SidelaneError):
    """A child process was not ready in time, and was killed."""

    def problem(self) -> Problem:
        return Problem(status=500, title="Process not ready", detail=str(self))


def classify_error(error: BaseException, *, failures: int | None, retry: Retry, registry: Registry) -> Outcome:
    """Return the outcome of an attempt that raised `error`, after this number of earlier `failures` (see `retry_or_fail`).

    Clients see the problem. The error's message and traceback are for operators only, unless a problem rule, an HTTPException or
    `PermanentFailure` publishes them. Sidelane's own errors are internal too, because they may name files and hosts.
    """
    if isinstance(error, RetryLater):
        return Released(error.delay)
    if isinstance(error, ProcessDied):
        return Lost(Failure(problem=error.problem(), error=_message(error)))
    try:
        problem, final = _problem(error, registry)
    except Exception as rule_error:
        logger.exception("the problem rule for %s failed", type(error).__name__)
        error.add_note(f"Its problem rule failed: {rule_error!r}")
        problem, final = INTERNAL_ERROR, False
    failure = Failure(problem=problem, error=_message(error), traceback=_trace(error))
    return retry_or_fail(failure, error, failures=failures, retry=retry, final=final)


def is_throttled(error: BaseException) -> bool:
    """Return whether an error says that a provider asked to try later: it or one of its causes has the HTTP status 429.

    The errors of most clients have it. `RetryLater` counts if such an error caused it, because a task may also poll with it.
    """
    cause: BaseException | None = error
    for _ in range(MAX_CAUSES):
        if cause is None:
            return False
        if _http_status(cause) == HTTPStatus.TOO_MANY_REQUESTS:
            return True
        cause = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
    return False


def _http_status(error: BaseException) -> object:
    """Return the status that an error of an HTTP client has, as `status_code`, `status` or `response.status_code`."""
    with suppress(Exception):  # an attribute may be a property that fails
        for name in ("status_code", "status"):
            if (status := getattr(error, name, None)) is not None:
                return status
        return getattr(getattr(error, "response", None), "status_code", None)
    return None


def retry_or_fail(
    failure: Failure, error: BaseException, *, failures: int | None, retry: Retry, final: bool = False
) -> Failed | Retried:
    """Return whether a failed attempt is retried, wherever it ran. With `final`, it is not retried, whatever `retry` is.

    `failures` counts the earlier failures. If it is None, the process that dispatched the job counts failures, and decides on
    another attempt.
    """
    if final or not retry.is_retryable(error):
        return Failed(failure)
    delay = 0.0 if failures is None else retry.next_delay(failures + 1, error)
    return Failed(failure) if delay is None else Retried(failure, delay)


def add_job_context(outcome: Outcome, job_id: str, attempt: int) -> Outcome:
    """Add the job's id and the attempt to an outcome's problem, and convert the problem's extra fields to JSON values."""
    if isinstance(outcome, Succeeded) or not isinstance(outcome, Failed | Retried | Lost):
        return outcome
    problem = outcome.failure.problem
    extra = to_jsonable_python(dict(problem.extra), fallback=str, inf_nan_mode="strings")
    problem = replace(problem, extra={**extra, "job_id": job_id, "attempt": attempt})
    return replace(outcome, failure=replace(outcome.failure, problem=problem))


def report_end(
    record: JobRecord,
    outcome: Outcome,
    *,
    dispatched: bool = False,
    seconds: float | None = None,
    level: int = logging.DEBUG,
) -> None:
    """Report how the current attempt of a job ended. The end is logged, and a failure is logged as a warning with its traceback.

    With `dispatched`, the job came from another process, which counts its failures. `seconds` is how long the attempt ran, if
    known. `level` is the level of ends that are no failures. This function is called once for every end that a worker, an external
    worker or a failed dispatch decides. The function is not called for ends that the store decides alone (cancelled while queued,
    expired, lease swept).
    """
    job, task, attempt = record.id, record.spec.task, record.attempt
    if isinstance(outcome, Succeeded) and not logger.isEnabledFor(level):
        return  # most ends are such, and formatting takes time
    ran = "" if seconds is None else f" (ran {seconds:.1f} s)"
    if isinstance(outcome, Failed | Retried):
        again = f"again in {outcome.delay:.1f} s" if isinstance(outcome, Retried) else "for good"
        if dispatched and isinstance(outcome, Retried):
            again = "here: the process that dispatched it decides on another attempt"
        logger.warning(
            "job %s (%s) attempt %d failed %s%s: %s", job, task, attempt, again, ran, outcome.failure.error,
            extra={"traceback": outcome.failure.traceback},
        )  # fmt: skip
    elif isinstance(outcome, Lost):
        logger.warning("job %s (%s) attempt %d was lost%s: %s", job, task, attempt, ran, outcome.failure.error)
    else:
        logger.log(level, "job %s (%s) attempt %d %s%s", job, task, attempt, type(outcome).__name__.lower(), ran)


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
    """Return the problem of a FastAPI HTTPException.

    The core does not import FastAPI, but the task's process may have imported it.
    """
    module = sys.modules.get("starlette.exceptions")
    if module is None or not isinstance(error, module.HTTPException):
        return None
    detail = error.detail
    if isinstance(detail, str):
        return Problem(status=error.status_code, detail=detail)
    return Problem(status=error.status_code, extra={"errors": detail})


def _message(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:1000]


def _trace(error: BaseException) -> str:
    """Return the traceback without this package's leading frames, so that it starts in the task's own code.

    An error that this package raised itself needs no traceback, but the traceback of its cause is returned.
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
