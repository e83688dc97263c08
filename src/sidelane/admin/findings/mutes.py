"""Muted findings, which send no alert and do not count until a time."""

import json
from collections.abc import Mapping
from typing import Final

from sidelane.model.errors import StoreUnavailable
from sidelane.model.json_text import dump_json
from sidelane.model.shared_state import ValueChange, VersionedValue
from sidelane.stores.contract import Store

MUTES: Final = "muted findings"
"""Name of the versioned value: times by the keys of findings."""

MAX_MUTES: Final = 100
"""Findings that may be muted at the same time. The mutes that end first make space for others."""

MAX_KEY: Final = 400
"""Characters of a key."""

TRIES: Final = 10
"""Tries to save, in case other operators mute at the same moment."""


def load_mutes(value: VersionedValue | None, now: float) -> dict[str, float]:
    """Return until when each finding is muted, in seconds since 1970, without mutes that are over."""
    mutes: Mapping[str, float] = {} if value is None else json.loads(value.text)
    return {key: until for key, until in mutes.items() if until > now}


async def mute(store: Store, key: str, seconds: float) -> float:
    """Mute a finding from now on, and return until when. Raises ValueError if the key is too long."""
    if not 0 < len(key) <= MAX_KEY:
        raise ValueError(f"a key has 1 to {MAX_KEY} characters")
    now = (await store.list_schedules()).now
    await _change(store, now, key, now + seconds)
    return now + seconds


async def unmute(store: Store, key: str) -> bool:
    """End a mute. Returns False if the finding is not muted."""
    return await _change(store, (await store.list_schedules()).now, key, None)


async def _change(store: Store, now: float, key: str, until: float | None) -> bool:
    """Set or end a mute. Returns whether the finding was muted before."""
    for _ in range(TRIES):
        (value,) = await store.read_values([MUTES])
        mutes = load_mutes(value, now)
        muted = mutes.pop(key, None) is not None
        if until is not None:
            mutes[key] = until
        elif not muted:
            return False
        newest = dict(sorted(mutes.items(), key=lambda each: -each[1])[:MAX_MUTES])
        replaces = None if value is None else value.version
        if await store.set_value(ValueChange(name=MUTES, text=dump_json(newest), replaces=replaces)):
            return muted
    raise StoreUnavailable("Others change the muted findings at the same moment; try again.")
