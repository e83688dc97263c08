"""Names of options: what to write instead of one that does not exist, also for names of Celery, RQ, arq and Dramatiq."""

from collections.abc import Iterable, Mapping, Set
from difflib import get_close_matches

FOREIGN_NAMES: Mapping[str, str] = {
    "acks_late": "max_worker_losses",
    "actor_name": "name",
    "at_front": "priority",
    "autoretry_for": "retry=Retry(only=…)",
    "countdown": "delay",
    "default_retry_delay": "retry=Retry(backoff=…)",
    "defer_by": "delay",
    "defer_until": "run_at",
    "depends_on": "then",
    "dont_autoretry_for": "retry=Retry(never=…)",
    "eta": "run_at",
    "failure_ttl": "retention",
    "headers": "labels",
    "job_id": "id",
    "job_timeout": "timeout",
    "keep_result": "retention",
    "link": "then",
    "link_error": "on_failure",
    "max_age": "expires",
    "max_retries": "retry=Retry(attempts=…)",
    "max_tries": "retry=Retry(attempts=…)",
    "meta": "labels",
    "min_backoff": "retry=Retry(backoff=…)",
    "on_success": "then",
    "queue_name": "queue",
    "rate_limit": "limits=[RateLimit(…)]",
    "reject_on_worker_lost": "max_worker_losses",
    "result_expires": "retention",
    "result_ttl": "retention",
    "retries": "retry=Retry(attempts=…)",
    "retry_backoff": "retry=Retry(backoff=…)",
    "retry_backoff_max": "retry=Retry(backoff=…)",
    "retry_jitter": "retry=Retry(backoff=…)",
    "soft_time_limit": "timeout",
    "task_id": "id",
    "time_limit": "timeout",
    "ttl": "expires",
}
"""What options of other queues are here."""


def unknown_option(names: Iterable[str], known: Set[str], elsewhere: Mapping[str, Set[str]]) -> str | None:
    """Return a sentence about the first of these names that is not known, with the option to write instead, or None.

    `elsewhere` are the options that other functions take, each set by the form in which its function is written.
    """
    name = next((each for each in names if each not in known), None)
    return None if name is None else f"there is no option `{name}`; {_suggestion(name, known, elsewhere)}"


def did_you_mean(name: str, known: Iterable[str], otherwise: str) -> str:
    """Return a sentence with the known name that resembles `name`, or else with all of them after the words `otherwise`."""
    names = sorted(known)
    close = get_close_matches(name, names, n=1)
    return f"did you mean `{close[0]}`?" if close else f"{otherwise} {', '.join(names)}."


def _suggestion(name: str, known: Set[str], elsewhere: Mapping[str, Set[str]]) -> str:
    counterpart = FOREIGN_NAMES.get(name.removeprefix("_"), name)  # some of arq's begin with an underscore
    option = counterpart.partition("=")[0]
    if option in known:
        return f"did you mean `{counterpart}`?"
    for function, options in elsewhere.items():
        if option in options:
            return f"did you mean `{counterpart}` of `{function}`?"
    return did_you_mean(name, known, "the options are")
