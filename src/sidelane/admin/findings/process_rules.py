"""Findings about processes: unhealthy workers, blocked event loops, and workers that died."""

import re
import shlex
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import reduce

from sidelane.admin.findings.facts import RECENT, Facts, WorkerExit
from sidelane.admin.findings.finding import Action, Finding, Severity, digest
from sidelane.admin.findings.job_rules import poison_jobs
from sidelane.model.durations import duration_text
from sidelane.model.history import Count
from sidelane.model.sentence import Sentence, counted, sentence
from sidelane.model.sizes import size_text
from sidelane.model.worker import OK, WORKER, WorkerInfo
from sidelane.model.worker_request import WorkerAction

STARTING_OR_STOPPING = ("draining", "drained", "opening", "stopped")
"""How the health of a worker begins that is about to start or stop as it should."""

MAX_LAG = 1.0
"""Seconds by which an event loop may be late."""

OUT_OF_MEMORY = "out of memory"
"""What the reason of an exit contains if the system ended the process for its memory."""

MEMORY_SHARE = 0.8
"""The part of the memory at which a process was ended, at which its worker should be replaced between two jobs."""

NAMED = 3
"""Workers that a sentence names."""

_NUMBERS = re.compile(r"\d+(\.\d+)?")


def unhealthy_workers(facts: Facts) -> Iterator[Finding]:
    """Yield the errors that workers have, each with its workers. A worker that starts or drains has none."""
    by_error: dict[str, list[WorkerInfo]] = defaultdict(list)
    for worker in facts.workers:
        if worker.health != OK and not worker.health.startswith(STARTING_OR_STOPPING):
            by_error[_NUMBERS.sub("#", worker.health)].append(worker)
    for error, workers in sorted(by_error.items()):
        names = sorted(worker.name for worker in workers)
        yield Finding(
            key=f"unhealthy:{digest(error)}",
            severity=Severity.URGENT if _no_other_worker(facts, workers) else Severity.SOON,
            sentence=counted(
                len(names),
                "Worker {name} is unhealthy: {error}",
                "{count} workers are unhealthy: {error}",
                name=names[0],
                error=workers[0].health,
            ),
            evidence=[
                sentence(
                    "{names}. Healthy workers: {count}.",
                    names=_listed(names),
                    count=sum(map(_is_healthy, facts.workers)),
                )
            ],
            action=Action(sentence("See the health of {names}", names=_listed(names)), "sidelane workers", "workers"),
        )


def drained_workers(facts: Facts) -> Iterator[Finding]:
    """Yield that workers take no jobs because operators have drained them."""
    drained = sorted((each for each in facts.workers if each.request == WorkerAction.DRAIN), key=lambda each: each.name)
    if drained:
        names = [worker.name for worker in drained]
        yield Finding(
            key="drained-workers",
            severity=Severity.INFO,
            sentence=counted(
                len(names),
                "Worker {name} takes no jobs: drained by an operator",
                "{count} workers take no jobs: drained by an operator",
                name=names[0],
            ),
            evidence=[
                sentence(
                    "{names}. Jobs that they still run: {count}.",
                    names=_listed(names),
                    count=sum(worker.running for worker in drained),
                )
            ],
            action=Action(
                sentence("Resume {names}", names=_listed(names)),
                f"sidelane workers resume {shlex.join(names[:NAMED])}",
                "workers",
            ),
        )


def blocked_loops(facts: Facts) -> Iterator[Finding]:
    """Yield that the event loops of healthy processes are late, because something blocks them."""
    late = sorted(
        (each for each in facts.workers if each.loop_lag >= MAX_LAG and each.health == OK),
        key=lambda worker: -worker.loop_lag,
    )
    if late:
        names = [worker.name for worker in late]
        yield Finding(
            key="blocked-event-loop",
            severity=Severity.SOON,
            sentence=counted(
                len(late),
                "1 process has an event loop that is up to {time} late: {names}",
                "{count} processes have event loops that are up to {time} late: {names}",
                time=duration_text(late[0].loop_lag),
                names=_listed(names),
            ),
            evidence=[
                sentence(
                    "{name} serves {streams} streams and runs {jobs} jobs.",
                    name=late[0].name,
                    streams=late[0].streams,
                    jobs=late[0].running,
                )
            ],
            action=Action(sentence("Find the blocking call in the log of {name}", name=names[0]), "sidelane logs"),
        )


def lost_workers(facts: Facts) -> Iterator[Finding]:
    """Yield that workers died lately, by themselves or because the system had no memory left for them."""
    exits = sorted((each for each in facts.exits if each.at >= facts.now - RECENT), key=lambda each: each.at)
    killed = [each for each in exits if OUT_OF_MEMORY in each.reason]
    died = [each for each in exits if OUT_OF_MEMORY not in each.reason]
    if killed:
        yield _out_of_memory(facts, killed)
    lost = [cell.at for cell in facts.recent if cell.counts.get(Count.LOST)]
    leases = sum(cell.counts.get(Count.LOST, 0) for cell in facts.recent)
    if not died and not (leases and not killed):
        return
    losses = counted(leases, "1 worker loss", "{count} worker losses")
    text = sentence("{losses} in the last 15 min", losses=losses)
    evidence = sentence(
        "Leases ended without a sign of their workers: a machine is gone, or an external worker did not answer."
    )
    if died:
        text = sentence(
            "{losses} in the last 15 min; {workers} died, the last {time} ago: {reason}",
            losses=losses, workers=counted(len(died), "1 worker", "{count} workers"),
            time=duration_text(facts.now - died[-1].at), reason=died[-1].reason,
        )  # fmt: skip
        evidence = _exits(died)
    yield Finding(
        key="lost-workers",
        severity=Severity.SOON,
        sentence=text,
        evidence=[evidence],
        action=Action(sentence("See the workers that are left"), "sidelane workers", "workers"),
        since=min([*lost, *(each.at for each in died)]),
        cause=next((each.key for each in poison_jobs(facts)), None),
    )


def _out_of_memory(facts: Facts, killed: Sequence[WorkerExit]) -> Finding:
    smallest = min((each.memory for each in killed if each.memory), default=0)
    action = Action(sentence("See the memory of each worker"), "sidelane workers --json")
    if smallest:
        limit = f"{max(1, round(smallest * MEMORY_SHARE / 1_000_000))}MB"
        text = sentence("Replace workers above {limit} between two jobs", limit=limit)
        action = Action(text, f"sidelane worker --max-memory {limit}")
    return Finding(
        key="out-of-memory",
        severity=Severity.URGENT,
        sentence=counted(
            len(killed),
            "1 worker was killed in the last 15 min: out of memory",
            "{count} workers were killed in the last 15 min: out of memory",
        ),
        evidence=[sentence("The last was {time} ago.", time=duration_text(facts.now - killed[-1].at)), _exits(killed)],
        action=action,
        since=killed[0].at,
        cause=next((each.key for each in poison_jobs(facts)), None),
    )


def _exits(exits: Sequence[WorkerExit]) -> Sentence:
    """Return how the last workers ended."""
    listed = reduce(
        lambda before, last: sentence("{before}; {last}", before=before, last=last), map(_exit, exits[-NAMED:])
    )
    return sentence("{exits}.", exits=listed)


def _exit(died: WorkerExit) -> Sentence:
    if not died.memory:
        return sentence("{worker}: {reason}", worker=died.worker, reason=died.reason)
    size = size_text(died.memory)
    return sentence("{worker}: {reason} at {size}", worker=died.worker, reason=died.reason, size=size)


def _is_healthy(worker: WorkerInfo) -> bool:
    return worker.kind == WORKER and worker.health == OK


def _no_other_worker(facts: Facts, unhealthy: Sequence[WorkerInfo]) -> bool:
    """Return whether a queue of these workers has no healthy one."""
    queues = {queue for worker in unhealthy for queue in worker.queues}
    return any(not any(map(_is_healthy, facts.workers_of(queue))) for queue in queues)


def _listed(names: Sequence[str]) -> Sentence | str:
    first, more = ", ".join(names[:NAMED]), len(names) - NAMED
    return sentence("{names} and {count} more", names=first, count=more) if more > 0 else first
