"""Why: in one sentence each, why a job has not started, runs, retries or has ended, why it started late, and why it ran again."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from sidelane.admin.documents import Document, error_text
from sidelane.admin.job_notices import WorkerLookup
from sidelane.admin.limits import ChangedLimit, change_in_force
from sidelane.admin.timeline import Attempt, Phase, Stage, attempts_of, stages
from sidelane.model.durations import duration_text
from sidelane.model.job import JobRecord, State, is_isolated_after
from sidelane.model.limit_override import LimitOverride
from sidelane.model.sentence import Sentence, counted, sentence
from sidelane.model.sizes import size_text
from sidelane.model.transition import Change
from sidelane.model.worker import LimitStats, QueuePosition

MAX_POSITION: Final = 1000
"""The store counts at most this many jobs ahead of one."""

MAX_ERROR: Final = 200
"""Characters of an error in a sentence."""

MAX_REPEATS: Final = 3
"""Attempts before the newest that are explained."""

MIN_WAIT: Final = 1.0
"""Seconds of waiting before the first start that are explained at least."""

MIN_SILENCE: Final = 60.0
"""Seconds without an event after which a running job is silent."""

NOW, NOT_SOONER, AGAIN = "Now", "Why not sooner", "Why again"
"""The titles of the three parts of an explanation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Situation:
    """What explains a job: its record, its workers, its position, its limits, which of them operators changed, and its timeout in
    seconds.
    """

    record: JobRecord
    lookup: WorkerLookup = field(default_factory=lambda: WorkerLookup(has_worker=True))
    position: QueuePosition | None = None
    limits: Sequence[LimitStats] = ()
    changed: Sequence[ChangedLimit] = ()
    timeout: float | None = None


Explanation = Mapping[str, Sequence[Sentence]]
"""Sentences by title. The first title is `NOW`, whose sentences are never missing."""


def explain(situation: Situation, now: float) -> Explanation:
    """Return why a job is as it is. `now` is in seconds since 1970."""
    record = situation.record
    parts = {
        NOW: list(_now(situation, now)),
        NOT_SOONER: list(_not_sooner(stages(record, now), record)),
        AGAIN: list(_again(attempts_of(record), record)),
    }
    return {title: sentences for title, sentences in parts.items() if sentences}


def explanation_document(explanation: Explanation) -> Document:
    """Return an explanation as members of a JSON document, with null for a part that is missing."""
    texts = {title: " ".join(map(str, sentences)) for title, sentences in explanation.items()}
    return {"now": texts[NOW], "why_not_sooner": texts.get(NOT_SOONER), "why_again": texts.get(AGAIN)}


def _now(situation: Situation, now: float) -> Iterator[Sentence]:
    record = situation.record
    if record.state is State.QUEUED:
        yield from _queued(situation, now)
        yield from _expiry(record, now)
    elif record.state is State.RUNNING:
        yield from _running(situation, now)
    else:
        yield from _ended(record, now)


def _queued(situation: Situation, now: float) -> Iterator[Sentence]:
    record, notice = situation.record, situation.lookup.notice
    if record.due is not None and record.due > now:
        yield _delayed(record, record.due - now, now)
        if notice is None:
            return
    elif record.waiting_for_limit is not None:
        yield _waiting_for_limit(record.waiting_for_limit, situation.limits)
        if change := change_in_force(situation.changed, record.waiting_for_limit):
            yield _changed(change.override, now)
        if notice is None:
            return
    if notice is not None:
        yield sentence("Not started: {notice}.", notice=notice)
        return
    if record.isolated:
        yield sentence(
            "Not started: it waits for an isolation worker. Lost workers: {losses}.", losses=record.worker_losses
        )
    yield _position(situation.position, record.spec.queue)


def _delayed(record: JobRecord, seconds: float, now: float) -> Sentence:
    if not record.failures:
        return sentence("Starts in {time}.", time=duration_text(seconds))
    failed = record.last_failure
    if failed is None:
        return sentence(
            "Attempt {number} failed. Tries again in {time}.", number=record.attempt, time=duration_text(seconds)
        )
    return sentence(
        "Attempt {number} failed {ago} ago: {error}. Tries again in {time}.",
        number=failed.attempt, ago=duration_text(now - failed.at), error=_error(record), time=duration_text(seconds),
    )  # fmt: skip


def _waiting_for_limit(limit_id: str, limits: Sequence[LimitStats]) -> Sentence:
    limit = next((each for each in limits if each.id == limit_id), None)
    if limit is None:
        return sentence("Not started: it waits for the limit {limit}.", limit=limit_id)
    if limit.available_in is not None:
        return sentence(
            "Not started: the rate {limit} is used up; it admits the next job in {time}. Jobs that wait for it: {waiting}.",
            limit=limit_id, time=duration_text(limit.available_in), waiting=limit.waiting,
        )  # fmt: skip
    return sentence(
        "Not started: the limit {limit} is full ({used} of {max}). Jobs that wait for it: {waiting}.",
        limit=limit_id, used=limit.used, max=limit.max, waiting=limit.waiting,
    )  # fmt: skip


def _changed(override: LimitOverride, now: float) -> Sentence:
    by, ago = override.by or "?", duration_text(now - override.since)
    if override.window is None:
        return sentence("The limit was changed to {max} by {name} {ago} ago.", max=override.max, name=by, ago=ago)
    time = duration_text(override.window)
    return sentence(
        "The rate was changed to {max} in {time} by {name} {ago} ago.", max=override.max, time=time, name=by, ago=ago
    )


def _position(position: QueuePosition | None, queue: str) -> Sentence:
    if position is None:
        return sentence("It waits in queue {queue}.", queue=queue)
    if position.before == 0:
        return sentence("It is the next job of queue {queue} and waits for a free slot.", queue=queue)
    before = f"{position.before:,}+" if position.before >= MAX_POSITION else f"{position.before:,}"
    if position.wait is None:
        return sentence("It waits in queue {queue}. Jobs before it: {before}.", before=before, queue=queue)
    return sentence(
        "It waits in queue {queue}, about {time}. Jobs before it: {before}.",
        before=before, queue=queue, time=duration_text(position.wait),
    )  # fmt: skip


def _expiry(record: JobRecord, now: float) -> Iterator[Sentence]:
    if record.spec.expires is not None and record.attempt == 0:
        left = record.submitted + record.spec.expires - now
        yield sentence("It expires in {time} unless it starts before.", time=duration_text(left))


def _running(situation: Situation, now: float) -> Iterator[Sentence]:
    record, lookup = situation.record, situation.lookup
    ran = max(0.0, now - (record.started or now))
    if record.cancel_requested:
        yield sentence("Asked to stop; its task has not stopped yet.")
    if lookup.sent is not None:
        yield sentence(
            "Attempt {number} has been at {to} for {time}; it is lost in {left} unless an answer comes.",
            number=record.attempt, to=lookup.sent.to, time=duration_text(ran), left=duration_text(lookup.sent.until - now),
        )  # fmt: skip
    elif lookup.worker is not None:
        yield sentence(
            "Attempt {number} has run for {time} on {worker} at {host} ({memory}).",
            number=record.attempt, time=duration_text(ran), worker=lookup.worker.name, host=lookup.worker.host,
            memory=size_text(lookup.worker.memory),
        )  # fmt: skip
    else:
        yield sentence("Attempt {number} has run for {time}.", number=record.attempt, time=duration_text(ran))
    if lookup.notice is not None:
        yield sentence("It does not continue: {notice}.", notice=lookup.notice)
    elif situation.timeout is not None and lookup.sent is None:
        left, timeout = duration_text(situation.timeout - ran), duration_text(situation.timeout)
        yield sentence("{left} are left of its {timeout}.", left=left, timeout=timeout)
    silence = min(ran, now - (record.last_event or 0.0))
    if silence >= MIN_SILENCE and lookup.sent is None:
        yield sentence("It has sent nothing for {time}.", time=duration_text(silence))


def _ended(record: JobRecord, now: float) -> Iterator[Sentence]:
    ended = record.ended if record.ended is not None else now
    ago, ran = duration_text(now - ended), duration_text(ended - (record.started or ended))
    if record.state is State.SUCCEEDED:
        yield sentence(
            "Succeeded {ago} ago in attempt {number}, after {time}.", ago=ago, number=record.attempt, time=ran
        )
    elif record.state is State.FAILED:
        yield _failed(record, ago)
    elif record.attempt == 0:
        waited = duration_text(ended - record.submitted)
        yield sentence("Cancelled {ago} ago, before it started; it had waited {time}.", ago=ago, time=waited)
    else:
        yield sentence("Cancelled {ago} ago in attempt {number}, after {time}. Events that are kept: {events}.",
                       ago=ago, number=record.attempt, time=ran, events=record.last)  # fmt: skip
    if record.state is State.CANCELLED and record.spec.abandon_after is not None:
        yield sentence("It is cancelled when it has had no listener for {time}.",
                       time=duration_text(record.spec.abandon_after))  # fmt: skip


def _failed(record: JobRecord, ago: str) -> Sentence:
    error = _error(record)
    if record.attempt == 0:
        return sentence("Failed {ago} ago, before it started: {error}.", ago=ago, error=error)
    if record.worker_losses > record.spec.max_worker_losses:
        return sentence(
            "Gave up {ago} ago, after {losses}; its task allows {most}.",
            ago=ago, losses=_lost_workers(record), most=record.spec.max_worker_losses,
        )  # fmt: skip
    return sentence("Gave up {ago} ago after attempt {number}: {error}.", ago=ago, number=record.attempt, error=error)


def _lost_workers(record: JobRecord) -> Sentence:
    return counted(record.worker_losses, "1 lost worker", "{count} lost workers")


def _not_sooner(all_stages: Sequence[Stage], record: JobRecord) -> Iterator[Sentence]:
    """Yield why a job waited before its first start."""
    waits: list[Stage] = []
    for stage in all_stages:
        if stage.attempt is not None:
            break
        waits.append(stage)
    else:
        return
    waited = sum(stage.seconds for stage in waits)
    if waited < MIN_WAIT:
        return
    yield sentence("It waited {time} before its first start.", time=duration_text(waited))
    blocked: dict[str, float] = {}
    for stage in waits:
        if stage.phase is Phase.WAITING_FOR_LIMIT:
            blocked[stage.limit] = blocked.get(stage.limit, 0.0) + stage.seconds
    for limit, seconds in blocked.items():
        yield sentence("{time} for the limit {limit}.", time=duration_text(seconds), limit=limit)
    paused = sum(stage.seconds for stage in waits if stage.phase is Phase.PAUSED)
    if paused > 0:
        yield sentence("{time} while its batch was paused.", time=duration_text(paused))
    rest = waited - sum(blocked.values()) - paused
    delay = min(rest, _own_delay(record))
    if delay > 0:
        yield sentence("{time} for its own time.", time=duration_text(delay))
    if rest - delay >= MIN_WAIT:
        yield sentence(
            "{time} for a free slot of queue {queue}.", time=duration_text(rest - delay), queue=record.spec.queue
        )


def _own_delay(record: JobRecord) -> float:
    """Return the seconds for which a job was submitted to wait."""
    run_at = record.spec.run_at
    return max(record.spec.delay, 0.0 if run_at is None else run_at - record.submitted)


def _again(attempts: Sequence[Attempt], record: JobRecord) -> Iterator[Sentence]:
    """Yield why the newest attempts but the last did not end the job."""
    errors = {failure.attempt: failure.error for failure in record.history}
    ended = [attempt for attempt in attempts if attempt.ended is not None]
    before = ended if record.state is State.QUEUED else ended[: len(attempts) - 1]
    for attempt in before[-MAX_REPEATS:]:
        yield _end_of(attempt, errors.get(attempt.number, ""))
    if record.worker_losses:
        yield sentence(
            "So far {losses}; its task allows {most}.", losses=_lost_workers(record), most=record.spec.max_worker_losses
        )
        if is_isolated_after(record.worker_losses, record.spec.max_worker_losses) and record.isolated:
            yield sentence("It runs in isolation workers now, so that it can end no other job.")


def _end_of(attempt: Attempt, error: str) -> Sentence:
    ran = duration_text((attempt.ended or attempt.started) - attempt.started)
    number, worker = attempt.number, attempt.worker.partition(":")[0]
    if attempt.end == Change.LOST:
        if attempt.detail:
            text = "Attempt {number} ended after {time}: its worker {worker} was lost ({detail})."
            return sentence(text, number=number, time=ran, worker=worker, detail=attempt.detail)
        return sentence(
            "Attempt {number} ended after {time}: its worker {worker} was lost.", number=number, time=ran, worker=worker
        )
    if attempt.end == Change.RETRIED:
        if error:
            return sentence(
                "Attempt {number} failed after {time}: {error}.", number=number, time=ran, error=_short(error)
            )
        return sentence("Attempt {number} failed after {time}.", number=number, time=ran)
    if attempt.end == Change.RELEASED:
        return sentence(
            "Attempt {number} was handed back after {time}, without counting as a failure.", number=number, time=ran
        )
    text = "Attempt {number} ended the job ({state}) after {time}; it was requeued."
    return sentence(text, number=number, state=attempt.end, time=ran)


def _error(record: JobRecord) -> str:
    return _short(error_text(record)) or "unknown"


def _short(error: str) -> str:
    line = " ".join(error.split())
    return (line if len(line) <= MAX_ERROR else f"{line[: MAX_ERROR - 1]}…").rstrip(".")
