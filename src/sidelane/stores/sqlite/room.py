"""How much room limits have: each is counted once, and what is taken since is remembered until it is in the tables."""

from collections import Counter
from collections.abc import Iterable, Sequence

import apsw

from sidelane.model.limit import Limit, LimitHit
from sidelane.stores.sqlite import rates, slots
from sidelane.stores.sqlite.bonds import AppliedLimit


class LimitCapacity:
    """The room of limits within one transaction."""

    def __init__(self, connection: apsw.Connection, now: float) -> None:
        self._connection = connection
        self._now = now
        self._held: dict[tuple[str, int], int] = {}
        self._taken: Counter[str] = Counter()
        self._arrivals: dict[str, float] = {}
        self._changed: dict[str, Limit] = {}

    def reached(self, bonds: Iterable[AppliedLimit]) -> list[LimitHit]:
        """Give those limits that let no more in, with when they will where that is known."""
        return [reached for bond in bonds if (reached := self._reached(bond)) is not None]

    def take(self, bonds: Sequence[AppliedLimit]) -> None:
        """Count one more job with these limits in. Its slots are for the caller to write, before `settle`."""
        for bound in {bond.id for bond in bonds if bond.limit.window is None}:
            self._taken[bound] += 1
        for bond in bonds:
            if bond.limit.window is not None:
                self._arrivals[bond.id] = self._arrival(bond) + rates.every(bond.limit)
                self._changed[bond.id] = bond.limit

    def settle(self) -> None:
        """Write down the rates that were debited, or that the clock had left behind when it stepped back, and count anew."""
        self._held.clear()
        self._taken.clear()
        if self._changed:
            rates.keep(self._connection, [(limit, self._arrivals[bound]) for bound, limit in self._changed.items()])
            self._changed.clear()

    def _reached(self, bond: AppliedLimit) -> LimitHit | None:
        limit = bond.limit
        if limit.window is not None:
            after = rates.wait(limit, self._arrival(bond), self._now)
            return LimitHit(limit, after) if after else None
        key = (bond.id, limit.most)
        if key not in self._held:
            self._held[key] = slots.held(self._connection, *key)
        return LimitHit(limit) if self._held[key] + self._taken[bond.id] >= limit.most else None

    def _arrival(self, bond: AppliedLimit) -> float:
        if bond.id not in self._arrivals:
            kept = rates.arrival(self._connection, bond.id)
            self._arrivals[bond.id] = rates.within(bond.limit, kept, self._now)
            if kept is not None and kept > self._arrivals[bond.id]:
                self._changed[bond.id] = bond.limit
        return self._arrivals[bond.id]
