"""The problems that stores themselves find: the same words whichever database keeps the jobs."""

import math
from collections.abc import Sequence
from typing import Final

from sidelane.model.job import Rejection
from sidelane.model.limit import LimitHit
from sidelane.model.problem import Problem

QUOTA_EXCEEDED: Final = "https://iana.org/assignments/http-problem-types#quota-exceeded"
REDUCED_CAPACITY: Final = "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"

DEFAULT_WAIT: Final = 5.0
"""Seconds after which it may be worth trying again where nobody can say: a slot is free when some job ends."""

MAX_WAIT: Final = 600.0
"""Seconds that a refusal asks to wait at most, however slowly a queue moves."""

WORKER_LOST: Final = Problem(
    status=500,
    title="Worker lost",
    detail="The worker that ran this job stopped without a word; the job may have run in part.",
)
WORKERS_LOST: Final = Problem(
    status=500,
    title="Worker lost",
    detail="Too many workers that ran this job stopped without a word; it is not tried again, for it may be what stops them.",
)
NOT_ANSWERED: Final = Problem(
    status=504,
    title="No answer",
    detail="This job was handed over, and who took it did not end it within the time it had.",
)
NOT_STARTED_IN_TIME: Final = Problem(
    status=503, title="Not started in time", detail="No worker could start this job within the time it had."
)
DEADLINE_PASSED: Final = Problem(
    status=504, title="Deadline passed", detail="This job did not end within the time it had."
)


def unique_taken(holder: str) -> Problem:
    return Problem(
        status=409,
        title="Conflict",
        detail=f"The unfinished job {holder} has the same unique key.",
        extra={"job": holder},
    )


def removed_before(job_id: str) -> Problem:
    """Refuse to make a job again whose id is remembered, though the job itself was removed."""
    return Problem(status=410, title="Gone", detail=f"The job {job_id} was here before, and has been removed.")


def not_submittable(detail: str) -> Problem:
    return Problem(status=422, title="Not a job", detail=detail)


def limit_hit(reached: Sequence[LimitHit]) -> Rejection:
    """Refuse a submit that limits keep out, naming them (draft-ietf-httpapi-ratelimit-headers)."""
    detail = "; ".join(_reached(each) for each in reached)
    names = [each.limit.name for each in reached]
    wait = max(DEFAULT_WAIT if each.after is None else each.after for each in reached)
    problem = Problem(
        status=429, title="Limit reached", detail=f"{detail}.", type=QUOTA_EXCEEDED, extra={"violated-policies": names}
    )
    return Rejection(problem, tuple(reached), wait)


def limits_full(reached: Sequence[LimitHit]) -> Rejection:
    """Refuse to requeue a job whose limits are full."""
    detail = "; ".join(_reached(each) for each in reached)
    extra = {"violated-policies": [each.limit.name for each in reached]}
    return Rejection(Problem(status=409, title="Conflict", detail=f"{detail}.", extra=extra), tuple(reached))


def queue_full(queue: str, most: int, rate: float) -> Rejection:
    """Refuse a submit to a queue where too many jobs wait; `rate` is how many of them start in a second."""
    wait = min(max(1.0, 1.0 / rate), MAX_WAIT) if rate > 0 else MAX_WAIT
    problem = Problem(
        status=503,
        title="Queue full",
        detail=f"{most} jobs wait in the queue {queue!r}, as many as it takes: try again in {math.ceil(wait)} s.",
        type=REDUCED_CAPACITY,
    )
    return Rejection(problem, retry_after=wait)


def batch_sealed(batch: str) -> Problem:
    return Problem(status=409, title="Conflict", detail=f"The batch {batch} takes no more jobs: it is sealed.")


def batch_unknown(batch: str) -> Problem:
    return not_submittable(f"There is no batch {batch}.")


def _reached(reached: LimitHit) -> str:
    limit = reached.limit
    if limit.window is not None:
        return f"The limit {limit.name!r} lets {limit.most} in within {limit.window:g} s: try again in {_seconds(reached)} s"
    jobs = "1 job is" if limit.most == 1 else f"{limit.most} jobs are"
    return f"The limit {limit.name!r} is reached: {jobs} unfinished"


def _seconds(reached: LimitHit) -> int:
    return math.ceil(reached.after or 0.0)
