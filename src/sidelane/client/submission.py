"""What a store's answer to a submit or requeue means to whoever asked: the job, or the error that says why there is none."""

from http import HTTPStatus

from sidelane.model.errors import JobConflict, JobRefused, LimitReached, QueueFull
from sidelane.model.job import Rejection, Submission


def raise_if_rejected(answer: Submission | Rejection, user: str | None) -> Submission:
    """Give the job that a submit of this user's has come to.

    Raises `LimitReached`, `QueueFull`, `JobConflict` (also where the id is that of somebody else's job) or `JobRefused`.
    """
    if isinstance(answer, Rejection):
        raise rejection_error(answer)
    if not answer.created and answer.record.spec.user != user:
        raise JobConflict("The id of this job is taken.")
    return answer


def rejection_error(refusal: Rejection) -> JobRefused:
    """Give the error that a refusal is."""
    problem = refusal.problem
    match problem.status:
        case HTTPStatus.TOO_MANY_REQUESTS:
            return LimitReached(problem, refusal.reached, refusal.retry_after)
        case HTTPStatus.SERVICE_UNAVAILABLE:
            return QueueFull(problem, refusal.retry_after)
        case HTTPStatus.CONFLICT:
            return JobConflict(problem)
        case _:
            return JobRefused(problem)
