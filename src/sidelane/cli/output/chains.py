"""What follows a job or a batch, and what a job takes from the one it follows, in words."""

from sidelane.model.job import FINISHED, FollowUp, JobSpec, State
from sidelane.tasks.internal_queues import INTERNAL_PREFIX
from sidelane.tasks.placeholders import BATCH, FAILURE_OF_PARENT, RESULT_OF_PARENT

SOURCES = {RESULT_OF_PARENT: "the result of its parent", FAILURE_OF_PARENT: "the failure of its parent"}


def follows_words(follow_up: FollowUp) -> str:
    """Say at which ends this one is submitted."""
    if follow_up.on == {State.SUCCEEDED}:
        return "then"
    if follow_up.on >= FINISHED:
        return "at its end"
    return f"on {' or '.join(_END[state] for state in sorted(follow_up.on))}"


def users_follow_ups(spec: JobSpec) -> list[FollowUp]:
    """List what follows a job, without what Sidelane does of its own then."""
    return [follow_up for follow_up in spec.follow_ups if not follow_up.spec.task.startswith(INTERNAL_PREFIX)]


def given_words(source: str) -> str:
    """Say where an argument comes from that is filled in when the job starts."""
    if source.startswith(BATCH):
        return f"the end of batch {source.removeprefix(BATCH)}"
    return SOURCES.get(source, source)


_END = {State.SUCCEEDED: "success", State.FAILED: "failure", State.CANCELLED: "cancel"}
