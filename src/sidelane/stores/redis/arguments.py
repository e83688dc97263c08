"""Encodes values as script arguments: flat lists of texts and numbers, which scripts read in the same order."""

from collections.abc import Iterable
from dataclasses import fields
from functools import lru_cache
from operator import attrgetter
from typing import Any

from msgpack import packb

from sidelane.model.batch import BatchSpec
from sidelane.model.event import NewEvent
from sidelane.model.history import NO_USAGE
from sidelane.model.job import Failure, FollowUp, JobSpec, Lease, Query, State
from sidelane.model.json_text import escape_surrogates
from sidelane.model.limit import Limit
from sidelane.model.limit_override import MAX_OVERRIDES, LimitOverride
from sidelane.model.outcome import (
    AttemptResult,
    Cancelled,
    Dispatched,
    EventAppend,
    Failed,
    Lost,
    Released,
    Retried,
    Succeeded,
)
from sidelane.model.schedule import ScheduleTick
from sidelane.model.shared_state import JournalAppend, ValueChange
from sidelane.model.worker import ClaimRequest
from sidelane.stores.contract import REQUEST_RETENTION
from sidelane.stores.serialization import dump_batch, dump_limits, dump_problem, dump_spec, dump_usage, dumps
from sidelane.stores.validation import valid_outcome

CODES = {State.QUEUED: "0123", State.RUNNING: "4", State.SUCCEEDED: "5", State.FAILED: "6", State.CANCELLED: "7"}
DELAYED, PAUSED = 1, 3
_REMOVED = "8"  # not a state: a follow-up that waits for the job's removal
STATES = (*(State.QUEUED,) * 4, State.RUNNING, State.SUCCEEDED, State.FAILED, State.CANCELLED)

Argument = str | int | float


def new_job(spec: JobSpec) -> list[Any]:
    """Return the arguments of one new job: id, spec text, and the fields that scripts use for decisions."""
    return [spec.id, _spec_text(spec, "id"), fields_of(spec)]


def submission_fields(spec: JobSpec) -> list[Any]:
    """Return the argument for one submitted job, which limits or a full queue may reject."""
    return [[*new_job(spec), spec.max_queued]]


def fields_of(spec: JobSpec) -> list[Any]:
    """Return the 23 fields in the order of `enqueue.lua`. Integers that a Lua number cannot hold exactly go as text."""
    return [
        spec.task, str(spec.version), spec.queue, spec.user or "", str(spec.priority), *_PLAIN_FIELDS(spec),
        _follow_ups(spec.follow_ups), *_limits(spec.limits), spec.batch, spec.cascade, spec.id_retention, spec.isolable,
        spec.max_log_size,
    ]  # fmt: skip


_PLAIN_FIELDS = attrgetter(
    "key",
    "unique",
    "delay",
    "run_at",
    "expires",
    "deadline",
    "max_worker_losses",
    "retention",
    "abandon_after",
    "parent",
)


def _limits(limits: tuple[Limit, ...]) -> tuple[str | None, list[str] | None]:
    """Return the limits' text without their keys, which the jobs of a task share, and the keys."""
    if not limits:
        return None, None
    return _limits_text(tuple(map(_POLICY, limits))), [limit.key for limit in limits]


@lru_cache(maxsize=1000)
def _limits_text(policies: tuple[tuple[Any, ...], ...]) -> str | None:
    return dump_limits(tuple(Limit(key="", **dict(zip(_POLICY_NAMES, policy, strict=True))) for policy in policies))


_POLICY_NAMES = tuple(field.name for field in fields(Limit) if field.name != "key")
_POLICY = attrgetter(*_POLICY_NAMES)


def lease_fields(lease: Lease) -> list[Argument]:
    return [lease.job_id, lease.attempt, lease.nonce]


def append_fields(append: EventAppend) -> list[Argument]:
    return [*lease_fields(append.lease), append.ordinal, *_entry_fields(append.entries)]


def report_fields(report: AttemptResult) -> list[Any]:
    """Return the argument for one attempt result, a list in the order of `finish.lua`."""
    name = delay = text = history = ""
    dispatch_job = None
    match valid_outcome(report.outcome):
        case Succeeded(result):
            name, text = "succeeded", escape_surrogates(result)
        case Failed(failure):
            name, text, history = "failed", dump_problem(failure.problem), _failure(failure)
        case Cancelled():
            name = "cancelled"
        case Retried(failure, seconds):
            name, delay, history = "retried", _seconds(seconds), _failure(failure)
        case Released(seconds):
            name, delay = "released", _seconds(seconds)
        case Lost(failure):
            name, text, history = "lost", dump_problem(failure.problem), _failure(failure)
        case Dispatched(seconds, spec):
            name, delay, dispatch_job = "dispatched", _seconds(seconds), new_job(spec)
    return [
        [
            *lease_fields(report.lease), report.ordinal, name, delay, text, history, dispatch_job,
            None if report.usage == NO_USAGE else dump_usage(report.usage), report.throttled, _entry_fields(report.entries)[1:],
        ]
    ]  # fmt: skip


def claim_fields(request: ClaimRequest, watcher: str, watched: Iterable[str]) -> list[Argument]:
    """Return the arguments of a claim. `watcher` waits for jobs of the `watched` queues, if there are any."""
    isolated = int(request.isolated)
    fields: list[Argument] = [request.worker, request.release, request.request, request.limit]
    fields += [repr(request.lease), isolated]
    fields.append(-1 if request.tasks is None else len(request.tasks))
    for task, version in (request.tasks or {}).items():
        fields += [task, version]
    fields += [len(request.ids), *request.ids, len(request.queues)]
    for queue, slots in request.queues.items():
        fields += [queue, slots]
    full = set(watched).intersection(request.full)
    return [*fields, watcher if watched else "", len(full), *full]


def query_fields(query: Query) -> list[Any]:
    """Return the conditions of a query that `list_jobs.lua` checks."""
    states = "" if query.states is None else "".join(CODES[state] for state in query.states) or "none"
    text = None if query.text is None else ascii_lower(query.text)
    labels = [f"{dumps(name)}:{dumps(value)}" for name, value in query.labels.items()]
    return [
        states, query.task, query.queue, query.user, query.key, query.parent, query.batch, query.release, query.after, text,
        labels,
    ]  # fmt: skip


def ascii_lower(text: str) -> str:
    """Return a text with its Latin letters in lower case, as Lua and SQLite do it."""
    return text.encode(errors="surrogatepass").lower().decode(errors="surrogatepass")


def batch_fields(spec: BatchSpec) -> list[Any]:
    """Return the arguments of a batch, in the order of `open_batch.lua`."""
    return [spec.id, dump_batch(spec), spec.retention, _follow_ups(spec.follow_ups)]


def tick_fields(tick: ScheduleTick) -> list[Any]:
    """Return the arguments of a schedule's tick, in the order of `fire.lua`."""
    jobs = [field for spec in tick.specs for field in new_job(spec)]
    return [tick.name, tick.previous, tick.at, tick.next, len(tick.specs), *jobs]


def value_fields(change: ValueChange) -> list[Any]:
    """Return the arguments of a change of a value, in the order of `set_value.lua`."""
    return [int(REQUEST_RETENTION), change.version, change.name, change.replaces, change.text]


def journal_fields(append: JournalAppend) -> list[Any]:
    """Return the arguments of an append to a journal, in the order of `append_entries.lua`."""
    return [int(REQUEST_RETENTION), append.request, append.journal, append.cap, *append.texts]


def _failure(failure: Failure) -> str:
    return dumps([dump_problem(failure.problem), failure.error, failure.traceback])


def _entry_fields(entries: Iterable[NewEvent]) -> list[Argument]:
    flat: list[Argument] = [0]
    for entry in entries:
        flat += [escape_surrogates(entry.name), escape_surrogates(entry.data)]
    flat[0] = len(flat) // 2
    return flat


def _spec_text(spec: JobSpec, *omitted: str) -> str:
    """Return the spec as `rows.lua` stores it, without the limits, which are in the row."""
    document = dump_spec(spec)
    for name in (*omitted, "limits"):
        document.pop(name, None)
    arguments = document.pop("arguments", None)
    text = dumps(document)
    return text if arguments is None else f"{text}\n{escape_surrogates(arguments)}"


def override_fields(override: LimitOverride) -> Iterable[Argument]:
    """Return the arguments of `override_limit` that set the numbers of a limit."""
    window, until = (False if seconds is None else seconds for seconds in (override.window, override.until))
    yield from (override.id, MAX_OVERRIDES, override.max, window, override.burst, until)
    yield from (override.since, override.by, override.reason)


def _follow_ups(follow_ups: Iterable[FollowUp]) -> bytes | None:
    """Pack the follow-ups for `enqueue.lua`: states, the template's text after its parent, and fields."""
    if not follow_ups:
        return None
    packed: bytes = packb(
        [
            [
                "".join(CODES[state] for state in follow.on) or _REMOVED,
                _spec_text(follow.spec, "id", "parent")[1:],
                fields_of(follow.spec),
            ]
            for follow in follow_ups
        ],
        use_bin_type=False,
    )
    return packed


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else repr(float(seconds))
