"""Evaluation of all findings of a store, worst first."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace

from sidelane.admin.findings.facts import Facts
from sidelane.admin.findings.finding import Finding, worst_first
from sidelane.admin.findings.job_rules import callbacks, dead_letters, missed_schedules, poison_jobs, silent_attempts
from sidelane.admin.findings.memory import Memory, save_memory
from sidelane.admin.findings.process_rules import blocked_loops, drained_workers, lost_workers, unhealthy_workers
from sidelane.admin.findings.queue_rules import (
    held_limits,
    missed_targets,
    paused_batches,
    throttled_tasks,
    unserved_jobs,
)
from sidelane.admin.findings.reading import FactReader
from sidelane.admin.findings.store_rules import changed_server, full_disk, full_store, undelivered_alerts
from sidelane.model.errors import StoreError
from sidelane.model.shared_state import VersionedValue
from sidelane.stores.contract import Store

MAX_FINDINGS = 60
"""Findings that are listed and remembered. A person cannot read more."""

STALE = 40.0
"""Seconds after which no process seems to evaluate findings in the background. An alert is sent in less time."""

Rule = Callable[[Facts], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    missed_targets, unserved_jobs, held_limits, paused_batches, throttled_tasks, dead_letters, poison_jobs, silent_attempts,
    callbacks, missed_schedules, unhealthy_workers, drained_workers, blocked_loops, lost_workers, changed_server, full_store,
    full_disk, undelivered_alerts,
)  # fmt: skip


def evaluate(facts: Facts) -> list[Finding]:
    """Return the findings of some facts, worst first. A cause that is not among them is left out."""
    found = worst_first([finding for rule in RULES for finding in rule(facts)])[:MAX_FINDINGS]
    keys = {finding.key for finding in found}
    return [replace(each, cause=each.cause if each.cause in keys else None) for each in found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """The findings at the time `now` of the store's clock, what to remember with them, and the value that the memory replaces."""

    now: float
    findings: list[Finding]
    memory: Memory
    replaces: VersionedValue | None


class Attention:
    """Evaluates the findings of one store repeatedly."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reader = FactReader(store)
        self._seen: Mapping[str, float] = {}  # since when findings are there that no process has saved yet

    async def findings(self) -> list[Finding]:
        """Return what needs a person, worst first; muted findings are last. Raises `StoreError`.

        Saves since when they are there, unless another process does so in the background.
        """
        evaluation = await self.evaluation()
        replaces = evaluation.replaces
        if replaces is None or evaluation.now - replaces.changed > STALE:
            with suppress(StoreError):  # a store that is full can still be read
                await save_memory(self._store, evaluation.memory, replaces)
        return evaluation.findings

    async def evaluation(self) -> Evaluation:
        """Read the facts and evaluate them. Raises `StoreError`."""
        reading = await self._reader.read()
        now, found = reading.facts.now, evaluate(reading.facts)
        remembered = replace(reading.memory, seen={**self._seen, **reading.memory.seen})
        memory = remembered.with_findings(found, now)
        self._seen = memory.seen
        complete = [
            replace(
                each,
                since=memory.seen[each.key] if each.since is None else each.since,
                muted_until=reading.mutes.get(each.key),
            )
            for each in found
        ]
        return Evaluation(now=now, findings=worst_first(complete), memory=memory, replaces=reading.remembered)


async def findings(store: Store) -> list[Finding]:
    """Return what needs a person, worst first; muted findings are last. Raises `StoreError`."""
    return await Attention(store).findings()
