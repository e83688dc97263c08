"""Findings about queues: jobs that wait too long, that no worker serves, or that a limit or a provider holds back."""

import math
import shlex
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping

from sidelane.admin.findings.facts import LATELY, Facts
from sidelane.admin.findings.finding import Action, Finding, Severity, page_of
from sidelane.model.durations import duration_text, rate_text
from sidelane.model.history import Count, Histogram, HistoryCell, histogram, merged
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.sentence import Sentence, counted, sentence
from sidelane.model.worker import LimitStats, QueueStats, WorkerInfo

MIN_UNSERVED = 3.0
"""Seconds for which a job must have waited before a missing worker is a finding, so that a restart is none."""

MIN_HELD = 10
"""Jobs that at least wait for a limit that is a finding."""

MIN_THROTTLED = 10
"""Attempts of a task in five minutes that a provider at least refuses if that is a finding.

As many jobs that succeed in later minutes without a refusal end it, or more if few of the calls were refused.
"""

UTILISATION = 0.8
"""Share of its slots that a queue should use on average, so that jobs do not wait for long."""


def missed_targets(facts: Facts) -> Iterator[Finding]:
    """Yield the queues whose jobs wait longer than their target wait."""
    throttled = _throttled(facts)
    for queue in facts.queues:
        target = facts.declared.target_waits.get(queue.name)
        if target is None or queue.paused or queue.head_wait is None or queue.head_wait <= target:
            continue
        if queue.waiting_tasks and queue.waiting_tasks.keys() <= set(facts.paused_tasks):
            continue
        workers, cause = facts.workers_of(queue.name), _cause(facts, queue, throttled)
        yield Finding(
            key=f"target-wait:{queue.name}",
            severity=Severity.URGENT,
            sentence=sentence(
                "Queue {queue} misses its target wait of {target}: a job that could start has waited {time}",
                queue=queue.name,
                target=duration_text(target),
                time=duration_text(queue.head_wait),
            ),
            evidence=[
                _rates(facts, queue),
                _slots(workers),
                counted(queue.ready, "1 job can start.", "{count} jobs can start."),
            ],
            action=_action(facts, queue, workers, cause),
            since=facts.now - (queue.head_wait - target),
            cause=cause,
        )


def unserved_jobs(facts: Facts) -> Iterator[Finding]:
    """Yield the queues and the task versions that jobs wait for and no worker serves."""
    for queue in facts.queues:
        if not _waits(queue):
            continue
        if not facts.workers_of(queue.name):
            yield Finding(
                key=_unserved_queue_key(queue),
                severity=Severity.URGENT,
                sentence=counted(
                    queue.ready,
                    "1 job waits in queue {queue}, which no live worker serves",
                    "{count} jobs wait in queue {queue}, which no live worker serves",
                    queue=queue.name,
                ),
                evidence=[
                    sentence("The oldest has waited {time}.", time=duration_text(queue.oldest or 0.0)),
                    sentence("Live processes: {count}.", count=len(facts.workers)),
                ],
                action=Action(
                    sentence("Start a worker of {queue}", queue=queue.name), f"sidelane worker --queues {queue.name}"
                ),
            )
            continue
        for task, version in _unknown_tasks(facts, queue).items():
            known = max((worker.tasks.get(task, 0) for worker in facts.workers_of(queue.name)), default=0)
            yield Finding(
                key=f"unserved-task:{queue.name}:{task}",
                severity=Severity.URGENT,
                sentence=sentence(
                    "Jobs of {task} v{version} wait in queue {queue} for a worker that knows it; no live one does",
                    task=task,
                    version=version,
                    queue=queue.name,
                ),
                evidence=[
                    sentence("Workers of the queue: {count}.", count=len(facts.workers_of(queue.name))),
                    sentence("They know v{version} at most.", version=known)
                    if known
                    else sentence("They know no task of this name."),
                ],
                action=Action(
                    sentence("See the jobs of {task}", task=task),
                    f"sidelane jobs list --task {shlex.quote(task)} --state queued",
                    page_of("jobs", task=task, state="queued"),
                ),
            )


def held_limits(facts: Facts) -> Iterator[Finding]:
    """Yield the limits, other than those of one user, for which many jobs of queues with a target wait."""
    for limit in _held(facts):
        name, _, key = limit.id.partition("/")
        label = name if key in ("", name) else limit.id
        full = sentence("{used} of {max} slots are taken", used=limit.used, max=limit.max)
        if limit.available_in is not None:
            full = sentence("it admits the next in {time}", time=duration_text(limit.available_in))
        yield Finding(
            key=_limit_key(limit),
            severity=Severity.SOON,
            sentence=sentence(
                "Limit {limit} holds {jobs}: {full}",
                limit=label,
                jobs=counted(limit.waiting, "1 job", "{count} jobs"),
                full=full,
            ),
            evidence=[
                sentence(
                    "{used} of {max} used, {waiting} wait.",
                    used=limit.used,
                    max=limit.max,
                    waiting=f"{limit.waiting:,}",
                ),
                sentence("More workers would only wait for it too."),
            ],
            action=Action(
                sentence("See limit {limit}", limit=label),
                f"sidelane limits list --name {shlex.quote(limit.id)}",
                page_of("limits/one", id=limit.id),
            ),
        )


def throttled_tasks(facts: Facts) -> Iterator[Finding]:
    """Yield the tasks whose provider refuses many calls, e.g. with the status 429."""
    for task, (refused, started) in sorted(_throttled(facts).items()):
        yield Finding(
            key=_throttled_key(task),
            severity=Severity.URGENT,
            sentence=sentence(
                "The provider that {task} calls refuses: {count} attempts were told to try later (429) in 5 min",
                task=task,
                count=refused,
            ),
            evidence=[sentence("{count} attempts of {task} started in the same time.", count=started, task=task)],
            action=Action(
                sentence("See which jobs of {task} try again", task=task),
                f"sidelane jobs list --task {shlex.quote(task)} --state retrying",
                page_of("jobs", task=task, state="retrying"),
            ),
            since=_throttled_since(facts, task),
        )


def paused_batches(facts: Facts) -> Iterator[Finding]:
    """Yield the queues in which jobs of paused batches wait."""
    for queue in facts.queues:
        if queue.waiting_for_batch:
            yield Finding(
                key=f"paused-batches:{queue.name}",
                severity=Severity.INFO,
                sentence=counted(
                    queue.waiting_for_batch,
                    "1 job of paused batches waits in queue {queue}",
                    "{count} jobs of paused batches wait in queue {queue}",
                    queue=queue.name,
                ),
                evidence=[
                    sentence("Paused batches: {count}.", count=len(facts.paused_batches)),
                    sentence("Other jobs of the queue can start: {count}.", count=f"{queue.ready:,}"),
                ],
                action=Action(sentence("See which batches are paused"), "sidelane batches list", "batches"),
                since=min((pause.since for pause in facts.paused_batches.values()), default=None),
            )


def _waits(queue: QueueStats) -> bool:
    long_enough = queue.oldest is not None and queue.oldest >= MIN_UNSERVED
    return bool(queue.ready and long_enough and not queue.paused and not queue.name.startswith(INTERNAL_PREFIX))


def _unknown_tasks(facts: Facts, queue: QueueStats) -> dict[str, int]:
    """Return the versions of tasks, among the first ready jobs of a queue, that none of its workers knows."""
    workers = facts.workers_of(queue.name)
    return {
        task: version
        for task, version in sorted(queue.waiting_tasks.items())
        if task not in facts.paused_tasks and not any(worker.tasks.get(task, 0) >= version for worker in workers)
    }


def _cause(facts: Facts, queue: QueueStats, throttled: Collection[str]) -> str | None:
    """Return the key of the finding that explains why jobs of a queue wait, if there is one. `throttled` are names of tasks."""
    if _waits(queue) and not facts.workers_of(queue.name):
        return _unserved_queue_key(queue)
    tasks = {cell.series.task for cell in facts.cells_since(LATELY) if cell.series.queue == queue.name}
    refused = sorted(tasks & set(throttled))
    if refused:
        return _throttled_key(refused[0])
    held = sorted(_held(facts), key=lambda limit: -limit.waiting)
    return _limit_key(held[0]) if held and queue.waiting_for_limit >= MIN_HELD else None


def _rates(facts: Facts, queue: QueueStats) -> Sentence:
    """Return how fast jobs arrive and start, and by when the queue is empty at these rates."""
    rates = facts.lately(queue.name)
    if not rates.arrivals and not rates.starts:
        return sentence("No job started in 5 min.")
    arrivals, starts = rate_text(rates.arrivals) or "0/s", rate_text(rates.starts) or "0/s"
    surplus = rates.starts - rates.arrivals
    if surplus <= 0:
        return sentence("{arrivals} arrive, {starts} start; the queue grows.", arrivals=arrivals, starts=starts)
    return sentence(
        "{arrivals} arrive, {starts} start; the queue clears in {time}.",
        arrivals=arrivals, starts=starts, time=duration_text(queue.ready / surplus),
    )  # fmt: skip


def _slots(workers: list[WorkerInfo]) -> Sentence:
    busy, slots = sum(each.running for each in workers), sum(each.slots for each in workers)
    return sentence("{busy} of {slots} slots busy.", busy=busy, slots=slots)


def _action(facts: Facts, queue: QueueStats, workers: list[WorkerInfo], cause: str | None) -> Action:
    """Return what shortens the wait of a queue: more slots, unless these would be free too, or wait for the cause."""
    slots = sum(each.queues[queue.name] for each in workers)
    free = min(slots - queue.running, sum(each.slots - each.running for each in workers))
    if workers and cause is not None:
        return Action(
            sentence("See the jobs that wait in {queue}", queue=queue.name),
            f"sidelane jobs list --queue {queue.name} --state queued",
            page_of("jobs", queue=queue.name, state="queued"),
        )
    if free > 0:
        text = counted(
            free, "See why 1 slot of {queue} is free", "See why {count} slots of {queue} are free", queue=queue.name
        )
        return Action(text, "sidelane workers", "workers")
    return _more_slots(facts, queue, slots)


def _more_slots(facts: Facts, queue: QueueStats, slots: int) -> Action:
    """Return the action that adds as many slots as the arrivals of the last five minutes need (Little's law)."""
    rates = facts.lately(queue.name)
    runs: Histogram = histogram(rates.counts, Count.RUN)
    needed = math.ceil(rates.arrivals * runs.total / runs.count / UTILISATION) if runs.count else 0
    more = max(1, needed - slots)
    text = counted(more, "Add 1 slot to {queue}", "Add {count} slots to {queue}", queue=queue.name)
    return Action(text, f"sidelane worker --queues {queue.name}={more}")


def _held(facts: Facts) -> list[LimitStats]:
    targets = facts.declared.target_waits
    holds = any(queue.waiting_for_limit and (not targets or queue.name in targets) for queue in facts.queues)
    return [
        limit
        for limit in facts.limits
        if holds and limit.waiting >= MIN_HELD and not facts.declared.counts_by_user(limit.id.partition("/")[0])
    ]


def _throttled(facts: Facts) -> Mapping[str, tuple[int, int]]:
    """Return the refused and the started attempts of the last five minutes, of each task that is refused often and still is."""
    by_task: dict[str, list[HistoryCell]] = defaultdict(list)
    for cell in facts.cells_since(LATELY):
        by_task[cell.series.task].append(cell)
    found = {}
    for task, cells in by_task.items():
        counts = merged(cell.counts for cell in cells)
        refused = counts.get(Count.THROTTLED, 0)
        if refused >= MIN_THROTTLED and not facts.has_recovered(cells, {Count.THROTTLED}, MIN_THROTTLED):
            found[task] = refused, counts.get(Count.STARTED, 0)
    return found


def _throttled_since(facts: Facts, task: str) -> float:
    """Return the first minute of the last minutes in each of which the provider refused a call."""
    minutes = {cell.at for cell in facts.recent if cell.series.task == task and cell.counts.get(Count.THROTTLED)}
    first = max(minutes)
    while first - 60 in minutes:
        first -= 60
    return first


def _unserved_queue_key(queue: QueueStats) -> str:
    return f"unserved-queue:{queue.name}"


def _limit_key(limit: LimitStats) -> str:
    return f"limit:{limit.id}"


def _throttled_key(task: str) -> str:
    return f"provider:{task}"
