"""Problem documents (RFC 9457) that every store uses with the same texts."""

import math
from collections.abc import Sequence
from typing import Final

from sidelane.model.job import Rejection
from sidelane.model.limit import LimitHit
from sidelane.model.problem import Problem

QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY: Final = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"

DEFAULT_WAIT: Final = 5.0
"""Seconds of Retry-After for a limit on concurrent jobs, whose real time is unknown."""

MAX_WAIT: Final = 600.0
"""Maximum seconds of Retry-After for a full queue."""

WORKER_LOST: Final = Problem(
    status=500,
    title="Worker lost",
    detail="The worker that ran this job stopped unexpectedly; the job may have run in part.",
)
WORKERS_LOST: Final = Problem(
    status=500,
    title="Worker lost",
    detail="The job crashed its worker too many times and will not be retried.",
)
NOT_ANSWERED: Final = Problem(
    status=504,
    title="No answer",
    detail="The external worker did not finish this job in time.",
)
NOT_STARTED_IN_TIME: Final = Problem(
    status=503, title="Not started in time", detail="No worker could start this job in time."
)
DEADLINE_PASSED: Final = Problem(
    status=504, title="Deadline passed", detail="This job did not finish before its deadline."
)


def unique_taken(holder: str) -> Problem:
    return Problem(
        status=409,
        title="Conflict",
        detail=f"The unfinished job {holder} has the same unique key.",
        extra={"job": holder},
    )


def removed_before(job_id: str) -> Problem:
    """Return the problem of a submit with the id of a removed job (`JobSpec.id_retention`)."""
    return Problem(status=410, title="Gone", detail=f"The job {job_id} existed before and has been removed.")


def not_submittable(detail: str) -> Problem:
    return Problem(status=422, title="Not a job", detail=detail)


def limit_hit(hits: Sequence[LimitHit]) -> Rejection:
    """Return the rejection of a submit by limits. The rejection names the limits (draft-ietf-httpapi-ratelimit-headers)."""
    names = [each.limit.name for each in hits]
    wait = max(DEFAULT_WAIT if each.after is None else each.after for each in hits)
    problem = Problem(
        status=429,
        title="Limit reached",
        detail=_details(hits),
        type=QUOTA_EXCEEDED,
        extra={"violated-policies": names},
    )
    return Rejection(problem, tuple(hits), wait)


def limits_full(hits: Sequence[LimitHit]) -> Rejection:
    """Return the rejection of a requeue whose limits are full."""
    extra = {"violated-policies": [each.limit.name for each in hits]}
    return Rejection(Problem(status=409, title="Conflict", detail=_details(hits), extra=extra), tuple(hits))


def queue_full(queue: str, most: int, rate: float) -> Rejection:
    """Return the rejection of a submit to a full queue. `rate` is its starts per second."""
    wait = min(max(1.0, 1.0 / rate), MAX_WAIT) if rate > 0 else MAX_WAIT
    problem = Problem(
        status=503,
        title="Queue full",
        detail=f"The queue {queue!r} is full with {most} waiting jobs: try again in {math.ceil(wait)} s.",
        type=REDUCED_CAPACITY,
    )
    return Rejection(problem, retry_after=wait)


def batch_sealed(batch: str) -> Problem:
    return Problem(status=409, title="Conflict", detail=f"The batch {batch} takes no more jobs: it is sealed.")


def batch_unknown(batch: str) -> Problem:
    return not_submittable(f"There is no batch {batch}.")


def _details(hits: Sequence[LimitHit]) -> str:
    """Return the messages of the limits alone, or a description of each limit if none has a message."""
    messages = dict.fromkeys(each.limit.message for each in hits if each.limit.message)
    return " ".join(messages) or "; ".join(map(_describe, hits)) + "."


def _describe(hit: LimitHit) -> str:
    limit = hit.limit
    if limit.window is not None:
        return f"The limit {limit.name!r} admits {limit.max} per {limit.window:g} s: try again in {_seconds(hit)} s"
    jobs = "1 job is" if limit.max == 1 else f"{limit.max} jobs are"
    return f"The limit {limit.name!r} is reached: {jobs} unfinished"


def _seconds(hit: LimitHit) -> int:
    return math.ceil(hit.after or 0.0)
