"""Findings about jobs: dead letters, poison jobs, silent attempts, callbacks that fail, and schedules that missed a run."""

import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from sidelane.admin.failure_causes import NUMBERS, first_line, release_of
from sidelane.admin.findings.facts import LATELY, Facts
from sidelane.admin.findings.finding import Action, Finding, Severity, cancel_job, counted, digest, page_of
from sidelane.admin.queues import job_count
from sidelane.model.durations import DAY, duration_text
from sidelane.model.history import BUCKETS, Count, Counts, histogram, merged
from sidelane.model.job import JobRecord
from sidelane.model.schedule import MAX_LATENESS
from sidelane.tasks.internal_queues import CALLBACK_QUEUE, CALLBACK_TASK

MAX_FINDINGS = 20
"""Findings of one kind, so that a store with many different errors still has a list that a person can read."""

MIN_SILENCE = 60.0
"""Seconds without an event after which an attempt may be silent for too long."""

SILENCE_FACTOR, RUN_FACTOR = 10, 3
"""How many times longer than usual an attempt is silent, and an attempt of a task without events runs, if that is a finding."""

MIN_ATTEMPTS = 20
"""Attempts of a task in the last day that show what is usual."""

POISON_LOSSES = 2
"""Worker losses of one job from which on the job is probably their cause."""

MIN_FAILED_TRIES = 3
"""Tries of callbacks in five minutes that at least fail if that is a finding.

About as many that are delivered in later minutes without a failure end it.
"""

MAX_CALLBACK_WAIT = 60.0
"""Seconds for which a callback that is due may wait for a slot."""


def dead_letters(facts: Facts) -> Iterator[Finding]:
    """Yield the jobs that failed for good in the last day, by task, cause and release."""
    groups: dict[tuple[str, str, str], list[JobRecord]] = defaultdict(list)
    for record in facts.failed:
        if record.ended is not None and record.ended >= facts.now - DAY:
            groups[record.spec.task, NUMBERS.sub("#", first_line(record)), release_of(record)].append(record)
    largest = sorted(groups.items(), key=lambda group: -len(group[1]))[:MAX_FINDINGS]
    for (task, cause, release), records in largest:
        elsewhere = sum(
            len(found) for (other, same, _), found in groups.items() if (other, same) == (task, cause)
        ) - len(records)
        yield _dead_letter(facts, records, digest(cause, release), release, elsewhere)


def poison_jobs(facts: Facts) -> Iterator[Finding]:
    """Yield the queues with jobs that have cost several workers, and which therefore run isolated."""
    poison: dict[str, list[JobRecord]] = defaultdict(list)
    for record in facts.running:
        if record.isolated or record.worker_losses >= POISON_LOSSES:
            poison[record.spec.queue].append(record)
    waiting = {queue.name: queue.isolated for queue in facts.queues if queue.isolated}
    for queue in sorted(poison.keys() | waiting.keys()):
        running, ready = poison[queue], waiting.get(queue, 0)
        yield Finding(
            key=poison_key(queue),
            severity=Severity.URGENT,
            sentence=_poison_sentence(queue, running, ready),
            evidence=_poison_evidence(running, ready),
            action=_poison_action(queue, running),
        )


def silent_attempts(facts: Facts) -> Iterator[Finding]:
    """Yield the tasks with attempts that have sent nothing for far longer than is usual for them."""
    silent: dict[str, list[tuple[float, JobRecord]]] = defaultdict(list)
    for record in facts.running:
        if record.external_lease is None and record.started is not None:  # an external worker need not send events
            spoke = max(record.started, record.last_event or 0.0)
            silent[record.spec.task].append((spoke, record))
    for task, attempts in sorted(silent.items()):
        usual, most = _usual_silence(merged(cell.counts for cell in facts.day if cell.series.task == task))
        late = sorted((pair for pair in attempts if most and facts.now - pair[0] > most), key=lambda pair: pair[0])
        if not late:
            continue
        spoke, record = late[0]
        silence = duration_text(facts.now - spoke)
        sentence = f"Job {record.id} ({task}) has sent nothing for {silence}; {usual}"
        if len(late) > 1:
            sentence = f"{len(late)} jobs of {task} have sent nothing for up to {silence}; {usual}"
        yield Finding(
            key=f"silent:{task}",
            severity=Severity.SOON,
            sentence=sentence,
            evidence=f"Job {record.id} is the longest silent, on worker {record.worker}, in attempt {record.attempt}.",
            action=cancel_job(record.id),
            since=spoke,
        )


def callbacks(facts: Facts) -> Iterator[Finding]:
    """Yield that callbacks fail, wait for long, or have failed for good, by receiver."""
    cells = [cell for cell in facts.cells_since(LATELY) if cell.series.queue == CALLBACK_QUEUE]
    tries = merged(cell.counts for cell in cells)
    failed = tries.get(Count.RETRIED, 0) + tries.get(Count.FAILED, 0)
    delivered = tries.get(Count.SUCCEEDED, 0)
    recovered = facts.has_recovered(cells, {Count.RETRIED, Count.FAILED}, MIN_FAILED_TRIES)
    queue = facts.queue(CALLBACK_QUEUE)
    if failed >= MIN_FAILED_TRIES and failed > delivered and not recovered:
        yield Finding(
            key="callbacks:failing",
            severity=Severity.SOON,
            sentence=f"Callbacks fail: {failed} of {failed + delivered} tries in 5 min",
            evidence=f"Callbacks that wait for their next try: {queue.delayed:,}.",
            action=Action(
                "See the callbacks that try again",
                "sidelane jobs list --all --task sidelane.callback --state retrying",
                "callbacks",
            ),
        )
    if queue.oldest is not None and queue.oldest > MAX_CALLBACK_WAIT and not queue.paused:
        yield Finding(
            key="callbacks:waiting",
            severity=Severity.SOON,
            sentence=f"{queue.ready:,} callbacks are due and wait for a worker, the oldest for {duration_text(queue.oldest)}",
            evidence=f"{queue.running:,} are being sent, {queue.waiting_for_limit:,} wait for their receiver's limit.",
            action=Action("Start a worker", "sidelane worker"),
            since=facts.now - queue.oldest,
        )
    by_receiver: dict[str, list[JobRecord]] = defaultdict(list)
    for record in facts.failed_callbacks:
        if record.ended is not None and record.ended >= facts.now - DAY:
            by_receiver[record.spec.user or ""].append(record)
    for receiver, records in sorted(by_receiver.items(), key=lambda found: -len(found[1]))[:MAX_FINDINGS]:
        yield _dead_callbacks(receiver, records)


def missed_schedules(facts: Facts) -> Iterator[Finding]:
    """Yield the enabled schedules whose next run is long past."""
    for record in facts.schedules:
        late = 0.0 if record.next is None else facts.now - record.next
        if not record.enabled or late <= MAX_LATENESS:
            continue
        name = record.schedule.name
        yield Finding(
            key=f"schedule:{name}",
            severity=Severity.URGENT,
            sentence=f"Schedule {name} has not run: its last time passed {duration_text(late)} ago",
            evidence=f"It submits {record.schedule.spec.task} to queue {record.schedule.spec.queue}. No process that has the store "
            "open submits its jobs.",
            action=Action(
                f"Run {name} now",
                f"sidelane schedules run {shlex.quote(name)}",
                f"schedules/{quote(name, safe='')}/run",
                "schedule.run",
                name,
            ),
            since=record.next,
        )


def poison_key(queue: str) -> str:
    return f"poison:{queue}"


def _dead_letter(facts: Facts, records: Sequence[JobRecord], cause: str, release: str, elsewhere: int) -> Finding:
    newest = max(records, key=lambda record: record.ended or 0.0)
    task, line = newest.spec.task, first_line(newest)
    count = "1 dead letter" if len(records) == 1 else f"{len(records)} dead letters of one cause"
    on = ""
    if release:
        on = (
            f", on release {release}"
            if elsewhere or len(_releases(facts, task)) < 2
            else f", only on release {release}"
        )
    users = len({record.spec.user for record in records if record.spec.user})
    evidence = f"The last was job {newest.id}, {duration_text(facts.now - (newest.ended or facts.now))} ago."
    if users:
        evidence += f" Users: {users}."
    if elsewhere:
        evidence += f" {elsewhere} more of this cause ran on other releases."
    error = NUMBERS.split(line)[0].strip("… ") or line.strip("…")
    selected = f"--task {shlex.quote(task)} --error {shlex.quote(error)} --since 1d"
    return Finding(
        key=f"dead-letters:{task}:{cause}",
        severity=Severity.SOON,
        sentence=f"{count}: {line} in {task} v{newest.spec.version}{on}",
        evidence=evidence,
        action=Action(f"Review and requeue {len(records)}", f"sidelane dead list {selected}", "dead"),
        since=min(record.ended or facts.now for record in records),
    )


def _releases(facts: Facts, task: str) -> set[str]:
    """Return the releases that ran a task in the last day."""
    return {cell.series.release for cell in facts.day if cell.series.task == task and cell.series.release}


def _poison_sentence(queue: str, running: Sequence[JobRecord], ready: int) -> str:
    if len(running) == 1 and not ready:
        (record,) = running
        return f"Job {record.id} ({record.spec.task}) has cost {counted(record.worker_losses, 'worker')}"
    verb = "has" if len(running) + ready == 1 else "have"
    return f"{job_count(len(running) + ready)} of queue {queue} {verb} cost several workers"


def _poison_evidence(running: Sequence[JobRecord], ready: int) -> str:
    if not running:
        return f"{ready} wait to run isolated, each in a process that runs no other job."
    worst = max(running, key=lambda record: record.worker_losses)
    left = max(0, worst.spec.max_worker_losses - worst.worker_losses)
    starts = f"{left} {'start is' if left == 1 else 'starts are'} left to it"
    how = "runs isolated now" if worst.isolated else "runs beside other jobs"
    return f"Job {worst.id} {how}; {starts}. {len(running)} running, {ready} waiting."


def _poison_action(queue: str, running: Sequence[JobRecord]) -> Action:
    if not running:
        return Action(
            f"See the queued jobs of {queue}",
            f"sidelane jobs list --queue {queue} --state queued",
            page_of("jobs", queue=queue, state="queued"),
        )
    worst = max(running, key=lambda record: record.worker_losses)
    return cancel_job(worst.id)


def _usual_silence(counts: Counts) -> tuple[str, float | None]:
    """Return what is usual for a task in words, and the seconds of silence that are too many, or None if that is unknown.

    Most attempts of some tasks send events: their silence is compared with the wait for the first event and the time between two.
    Other tasks send none: their silence is compared with their whole run.
    """
    runs, first = histogram(counts, Count.RUN), histogram(counts, Count.FIRST_EVENT)
    sends = first.count * 2 >= runs.count
    usual = (first if sends else runs).quantile(0.99)
    if runs.count < MIN_ATTEMPTS or usual is None or usual >= BUCKETS[-1]:
        return "", None
    if not sends:
        return f"99 % end within {duration_text(usual)}", max(MIN_SILENCE, RUN_FACTOR * usual)
    between = counts.get(Count.STREAM_MS, 0) / 1000 / max(1, counts.get(Count.EVENTS, 0))
    return f"99 % send something within {duration_text(usual)}", max(MIN_SILENCE, SILENCE_FACTOR * max(usual, between))


def _dead_callbacks(receiver: str, records: Sequence[JobRecord]) -> Finding:
    newest = max(records, key=lambda record: record.ended or 0.0)
    count = counted(len(records), "callback")
    selected = f"--task {CALLBACK_TASK} --user {shlex.quote(receiver)}"
    return Finding(
        key=f"callbacks:failed:{receiver}",
        severity=Severity.SOON,
        sentence=f"{count} to {receiver} failed for good in the last 24 h",
        evidence=f"The last error: {first_line(newest)}",
        action=Action(f"Deliver {count} again", f"sidelane dead requeue --all {selected}", "callbacks"),
        since=min(record.ended or 0.0 for record in records),
    )
