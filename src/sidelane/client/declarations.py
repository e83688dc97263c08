"""Declarations of lanes that operators' tools need without a lane: target waits of queues, and limits."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Final

from sidelane.model.json_text import dump_json
from sidelane.model.limit import Limit, LimitPolicy
from sidelane.model.queue import Queue, target_waits
from sidelane.model.shared_state import ValueChange, VersionedValue
from sidelane.stores.contract import Store

DECLARATIONS: Final = "declarations"
"""Name of the versioned value."""

MAX_DECLARATIONS: Final = 300
"""Queues and limits that are kept."""

DEFAULT_NAME: Final = re.compile(r"-per-user(-\d+)?$")
"""The default names of limits that count by user. Only other names are kept."""

TRIES: Final = 5
"""Tries to save, in case other processes that start now save their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declarations:
    """Target waits by queue in seconds, the names of limits that count by user, and the numbers of limits by name.

    The limits have no keys and no messages.
    """

    target_waits: Mapping[str, float] = field(default_factory=dict)
    user_limits: frozenset[str] = frozenset()
    limits: Mapping[str, Limit] = field(default_factory=dict)

    def counts_by_user(self, limit: str) -> bool:
        """Return whether a limit of this name counts by user, as far as that is known."""
        return limit in self.user_limits or DEFAULT_NAME.search(limit) is not None


def load_declarations(value: VersionedValue | None) -> Declarations:
    """Return the stored declarations, which are empty before a lane has opened."""
    if value is None:
        return Declarations()
    found = json.loads(value.text)
    limits = {
        name: Limit(name=name, key="", max=most, window=window, burst=burst, on_limit=on_limit)
        for name, (most, window, burst, on_limit) in found.get("limits", {}).items()
    }
    return Declarations(target_waits=found["target_waits"], user_limits=frozenset(found["user_limits"]), limits=limits)


async def save_declarations(store: Store, queues: Iterable[Queue], limits: Mapping[str, LimitPolicy]) -> None:
    """Save the declarations of one lane; `limits` are by name. Those of other lanes with other queues and limits stay."""
    queues = list(queues)
    for _ in range(TRIES):
        (before,) = await store.read_values([DECLARATIONS])
        saved = load_declarations(before)
        changed = _merged(saved, queues, limits)
        if changed == saved:
            return
        replaces = None if before is None else before.version
        if await store.set_value(ValueChange(name=DECLARATIONS, text=_dump(changed), replaces=replaces)):
            return


def _dump(declarations: Declarations) -> str:
    limits = {
        name: (limit.max, limit.window, limit.burst, limit.on_limit) for name, limit in declarations.limits.items()
    }
    return dump_json(
        {
            "target_waits": declarations.target_waits,
            "user_limits": sorted(declarations.user_limits),
            "limits": limits,
        }
    )


def _merged(saved: Declarations, queues: Iterable[Queue], limits: Mapping[str, LimitPolicy]) -> Declarations:
    own = {queue.name for queue in queues}
    others = {name: seconds for name, seconds in saved.target_waits.items() if name not in own}
    waits = {**target_waits(queues), **others}
    per_user = {name for name, limit in limits.items() if limit.per == "user" and not DEFAULT_NAME.search(name)}
    names = per_user | (saved.user_limits - limits.keys())
    declared = {name: replace(limit.limit(name, ""), message="") for name, limit in limits.items()}
    numbers = {**declared, **{name: limit for name, limit in saved.limits.items() if name not in declared}}
    return Declarations(
        target_waits=dict(sorted(waits.items())[:MAX_DECLARATIONS]),
        user_limits=frozenset(sorted(names)[:MAX_DECLARATIONS]),
        limits=dict(sorted(numbers.items())[:MAX_DECLARATIONS]),
    )
