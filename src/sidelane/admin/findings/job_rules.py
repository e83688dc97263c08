"""Findings about jobs: dead letters, poison jobs, silent attempts, callbacks that fail, and schedules that missed a run."""

import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from urllib.parse import quote

from sidelane.admin.failure_causes import NUMBERS, cause_key, first_line, release_of
from sidelane.admin.findings.facts import LATELY, Facts
from sidelane.admin.findings.finding import Action, Finding, Severity, cancel_job, digest, page_of
from sidelane.model.durations import DAY, duration_text
from sidelane.model.history import BUCKETS, Count, Counts, histogram, merged
from sidelane.model.job import JobRecord
from sidelane.model.schedule import MAX_LATENESS
from sidelane.model.sentence import Sentence, counted, sentence
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
        yield Finding(
            key=f"silent:{task}",
            severity=Severity.SOON,
            sentence=counted(
                len(late),
                "Job {job} ({task}) has sent nothing for {time}; {usual}",
                "{count} jobs of {task} have sent nothing for up to {time}; {usual}",
                job=record.id,
                task=task,
                time=duration_text(facts.now - spoke),
                usual=usual,
            ),
            evidence=[
                sentence(
                    "Job {job} is the longest silent, on worker {worker}, in attempt {number}.",
                    job=record.id,
                    worker=record.worker,
                    number=record.attempt,
                )
            ],
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
            sentence=sentence(
                "Callbacks fail: {failed} of {count} tries in 5 min", failed=failed, count=failed + delivered
            ),
            evidence=[sentence("Callbacks that wait for their next try: {count}.", count=f"{queue.delayed:,}")],
            action=Action(
                sentence("See the callbacks that try again"),
                "sidelane jobs list --all --task sidelane.callback --state retrying",
                "callbacks",
            ),
        )
    if queue.oldest is not None and queue.oldest > MAX_CALLBACK_WAIT and not queue.paused:
        yield Finding(
            key="callbacks:waiting",
            severity=Severity.SOON,
            sentence=counted(
                queue.ready,
                "1 callback is due and waits for a worker, for {time}",
                "{count} callbacks are due and wait for a worker, the oldest for {time}",
                time=duration_text(queue.oldest),
            ),
            evidence=[
                sentence(
                    "{sending} are being sent, {waiting} wait for their receiver's limit.",
                    sending=f"{queue.running:,}",
                    waiting=f"{queue.waiting_for_limit:,}",
                )
            ],
            action=Action(sentence("Start a worker"), "sidelane worker"),
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
            sentence=sentence(
                "Schedule {name} has not run: its last time passed {time} ago", name=name, time=duration_text(late)
            ),
            evidence=[
                sentence(
                    "It submits {task} to queue {queue}.",
                    task=record.schedule.spec.task,
                    queue=record.schedule.spec.queue,
                ),
                sentence("No process that has the store open submits its jobs."),
            ],
            action=Action(
                sentence("Run {name} now", name=name),
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
    on: Sentence | str = ""
    if release:
        others = elsewhere or len(_releases(facts, task)) < 2
        text = ", on release {release}" if others else ", only on release {release}"
        on = sentence(text, release=release)
    ago = duration_text(facts.now - (newest.ended or facts.now))
    evidence = [sentence("The last was job {job}, {time} ago.", job=newest.id, time=ago)]
    if users := len({record.spec.user for record in records if record.spec.user}):
        evidence.append(sentence("Users: {count}.", count=users))
    if elsewhere:
        evidence.append(sentence("{count} more of this cause ran on other releases.", count=elsewhere))
    error = NUMBERS.split(line)[0].strip("… ") or line.strip("…")
    selected = f"--task {shlex.quote(task)} --error {shlex.quote(error)} --since 1d"
    return Finding(
        key=f"dead-letters:{task}:{cause}",
        severity=Severity.SOON,
        sentence=counted(
            len(records),
            "1 dead letter: {error} in {task} v{version}{release}",
            "{count} dead letters of one cause: {error} in {task} v{version}{release}",
            error=line,
            task=task,
            version=newest.spec.version,
            release=on,
        ),
        evidence=evidence,
        action=Action(
            sentence("Review and requeue {count}", count=len(records)),
            f"sidelane dead list {selected}",
            f"dead/{cause_key(newest)}",
        ),
        since=min(record.ended or facts.now for record in records),
    )


def _releases(facts: Facts, task: str) -> set[str]:
    """Return the releases that ran a task in the last day."""
    return {cell.series.release for cell in facts.day if cell.series.task == task and cell.series.release}


def _poison_sentence(queue: str, running: Sequence[JobRecord], ready: int) -> Sentence:
    if len(running) == 1 and not ready:
        (record,) = running
        return counted(
            record.worker_losses,
            "Job {job} ({task}) has cost 1 worker",
            "Job {job} ({task}) has cost {count} workers",
            job=record.id,
            task=record.spec.task,
        )
    return counted(
        len(running) + ready, "1 job of queue {queue} has cost several workers",
        "{count} jobs of queue {queue} have cost several workers", queue=queue,
    )  # fmt: skip


def _poison_evidence(running: Sequence[JobRecord], ready: int) -> list[Sentence]:
    if not running:
        return [sentence("{count} wait to run isolated, each in a process that runs no other job.", count=ready)]
    worst = max(running, key=lambda record: record.worker_losses)
    left = max(0, worst.spec.max_worker_losses - worst.worker_losses)
    starts = counted(left, "1 start is left to it", "{count} starts are left to it")
    how = "Job {job} runs isolated now; {starts}." if worst.isolated else "Job {job} runs beside other jobs; {starts}."
    return [
        sentence(how, job=worst.id, starts=starts),
        sentence("{running} running, {waiting} waiting.", running=len(running), waiting=ready),
    ]


def _poison_action(queue: str, running: Sequence[JobRecord]) -> Action:
    if not running:
        return Action(
            sentence("See the queued jobs of {queue}", queue=queue),
            f"sidelane jobs list --queue {queue} --state queued",
            page_of("jobs", queue=queue, state="queued"),
        )
    worst = max(running, key=lambda record: record.worker_losses)
    return cancel_job(worst.id)


def _usual_silence(counts: Counts) -> tuple[Sentence, float | None]:
    """Return what is usual for a task in words, and the seconds of silence that are too many, or None if that is unknown.

    Most attempts of some tasks send events: their silence is compared with the wait for the first event and the time between two.
    Other tasks send none: their silence is compared with their whole run.
    """
    runs, first = histogram(counts, Count.RUN), histogram(counts, Count.FIRST_EVENT)
    sends = first.count * 2 >= runs.count
    usual = (first if sends else runs).quantile(0.99)
    if runs.count < MIN_ATTEMPTS or usual is None or usual >= BUCKETS[-1]:
        return sentence("what is usual is unknown"), None
    if not sends:
        return sentence("99 % end within {time}", time=duration_text(usual)), max(MIN_SILENCE, RUN_FACTOR * usual)
    between = counts.get(Count.STREAM_MS, 0) / 1000 / max(1, counts.get(Count.EVENTS, 0))
    most = max(MIN_SILENCE, SILENCE_FACTOR * max(usual, between))
    return sentence("99 % send something within {time}", time=duration_text(usual)), most


def _dead_callbacks(receiver: str, records: Sequence[JobRecord]) -> Finding:
    newest = max(records, key=lambda record: record.ended or 0.0)
    count = counted(len(records), "1 callback", "{count} callbacks")
    selected = f"--task {CALLBACK_TASK} --user {shlex.quote(receiver)}"
    return Finding(
        key=f"callbacks:failed:{receiver}",
        severity=Severity.SOON,
        sentence=sentence(
            "{callbacks} to {receiver} failed for good in the last 24 h", callbacks=count, receiver=receiver
        ),
        evidence=[sentence("The last error: {error}", error=first_line(newest))],
        action=Action(
            sentence("Deliver {callbacks} again", callbacks=count),
            f"sidelane dead requeue --all {selected}",
            "callbacks",
        ),
        since=min(record.ended or 0.0 for record in records),
    )
