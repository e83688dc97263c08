"""Pauses of queues, tasks and batches: who paused them, why, and until when. A pause whose time is over ends by itself."""

import json
import logging
import random
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Final

from sidelane.model.batch import BatchRecord
from sidelane.model.errors import SidelaneError, StoreUnavailable
from sidelane.model.json_text import dump_json
from sidelane.model.shared_state import MAX_VALUE, ValueChange, VersionedValue
from sidelane.stores.contract import Store

PAUSES: Final = "pauses"
"""Name of the versioned value. The store itself also knows which queues and batches are paused, and has the last word on these."""

TRIES: Final = 10
"""Tries to save, in case other operators pause at the same moment."""

logger = logging.getLogger(__name__)


class TooManyPauses(SidelaneError):
    """Too many queues, tasks and batches are paused with long reasons. Resume some of them first."""

    status = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """One pause. Times are seconds since 1970 by the store's clock; `until` is None for a pause that only a person ends."""

    by: str = ""
    reason: str = ""
    since: float
    until: float | None = None

    def is_over(self, now: float) -> bool:
        return self.until is not None and self.until <= now


@dataclass(frozen=True, slots=True)
class Pauses:
    """The pauses by queue, by task and by the id of a batch."""

    queues: Mapping[str, Pause] = field(default_factory=dict)
    tasks: Mapping[str, Pause] = field(default_factory=dict)
    batches: Mapping[str, Pause] = field(default_factory=dict)

    def remaining(self, now: float) -> "Pauses":
        """Return the pauses that are not over."""
        return Pauses(
            *(
                {name: pause for name, pause in each.items() if not pause.is_over(now)}
                for each in (self.queues, self.tasks, self.batches)
            )
        )

    def names(self) -> set[str]:
        """Return everything that is paused."""
        return {*self.queues, *self.tasks, *self.batches}

    def dump(self) -> str:
        """Return the text of the value."""
        return dump_json(asdict(self))


def load_pauses(value: VersionedValue | None) -> Pauses:
    """Return the pauses of the stored value, which does not exist before the first pause."""
    if value is None:
        return Pauses()
    found = json.loads(value.text)  # by another version perhaps, which has more or fewer kinds of pauses
    return Pauses(
        *({name: Pause(**pause) for name, pause in found.get(kind.name, {}).items()} for kind in fields(Pauses))
    )


async def read_pauses(store: Store) -> Pauses:
    """Return the pauses, also those that are over and have not been ended yet. Raises `StoreError`, as all of this module."""
    (value,) = await store.read_values([PAUSES])
    return load_pauses(value)


async def pause_queue(store: Store, queue: str, pause: Pause) -> None:
    """Pause a queue, or replace its pause. Raises `TooManyPauses`."""
    await _change(store, lambda pauses: replace(pauses, queues={**pauses.queues, queue: pause}))
    await store.pause(queue)


async def resume_queue(store: Store, queue: str) -> None:
    """End the pause of a queue."""
    await _change(store, lambda pauses: replace(pauses, queues=_without(pauses.queues, queue)))
    await store.pause(queue, paused=False)


async def pause_task(store: Store, task: str, pause: Pause) -> Pause | None:
    """Pause a task, or replace its pause. Return the pause that it had. Raises `TooManyPauses`."""
    before = await _change(store, lambda pauses: replace(pauses, tasks={**pauses.tasks, task: pause}))
    return before.tasks.get(task)


async def resume_task(store: Store, task: str) -> Pause | None:
    """End the pause of a task. Return the pause that it had."""
    before = await _change(store, lambda pauses: replace(pauses, tasks=_without(pauses.tasks, task)))
    return before.tasks.get(task)


async def pause_batch(store: Store, batch_id: str, pause: Pause) -> BatchRecord | None:
    """Pause a batch, or replace its pause. Return the batch, or None for an unknown id. Raises `TooManyPauses`."""
    await _change(store, lambda pauses: replace(pauses, batches={**pauses.batches, batch_id: pause}))
    return await store.pause_batch(batch_id)


async def resume_batch(store: Store, batch_id: str) -> BatchRecord | None:
    """End the pause of a batch. Return the batch, or None for an unknown id."""
    await _change(store, lambda pauses: replace(pauses, batches=_without(pauses.batches, batch_id)))
    return await store.pause_batch(batch_id, paused=False)


async def end_pauses(store: Store) -> None:
    """End the pauses whose time is over, and remove those of removed batches. Any process may do this at any time."""
    (value,) = await store.read_values([PAUSES])
    if value is None:
        return
    pauses = load_pauses(value)
    if not pauses.batches and all(each.until is None for each in (*pauses.queues.values(), *pauses.tasks.values())):
        return
    now = (await store.list_schedules()).now
    remaining = await _without_removed_batch(store, pauses.remaining(now))
    if remaining == pauses:
        return
    queues, batches = pauses.queues.keys() - remaining.queues.keys(), pauses.batches.keys() - remaining.batches.keys()
    for queue in queues:
        await store.pause(queue, paused=False)
    for batch in batches:
        await store.pause_batch(batch, paused=False)
    if await store.set_value(ValueChange(name=PAUSES, text=remaining.dump(), replaces=value.version)):
        logger.info("these pauses are over: %s", ", ".join(sorted(pauses.names() - remaining.names())))
        return
    changed = (await read_pauses(store)).remaining(now)  # an operator has perhaps paused one of them again meanwhile
    for queue in queues & changed.queues.keys():
        await store.pause(queue)
    for batch in batches & changed.batches.keys():
        await store.pause_batch(batch)


async def _without_removed_batch(store: Store, pauses: Pauses) -> Pauses:
    """Return the pauses without one of a removed batch. One batch is checked each time, so that many cost no more reads."""
    if not pauses.batches:
        return pauses
    batch = random.choice(list(pauses.batches))
    return pauses if await store.get_batch(batch) else replace(pauses, batches=_without(pauses.batches, batch))


async def _change(store: Store, change: Callable[[Pauses], Pauses]) -> Pauses:
    """Change the pauses, and return those before."""
    for _ in range(TRIES):
        (value,) = await store.read_values([PAUSES])
        before = load_pauses(value)
        after = change(before)
        if after == before:
            return before
        text = after.dump()
        if len(text.encode()) > MAX_VALUE:
            raise TooManyPauses
        replaces = None if value is None else value.version
        if await store.set_value(ValueChange(name=PAUSES, text=text, replaces=replaces)):
            return before
    raise StoreUnavailable("Others change the pauses at the same moment; try again.")


def _without(pauses: Mapping[str, Pause], name: str) -> dict[str, Pause]:
    return {each: pause for each, pause in pauses.items() if each != name}
