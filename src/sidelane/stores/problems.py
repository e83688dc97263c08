"""The problems that stores themselves find: the same words whichever database keeps the jobs."""

from typing import Final

from sidelane.model.problem import Problem

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


def not_submittable(detail: str) -> Problem:
    return Problem(status=422, title="Not a job", detail=detail)
