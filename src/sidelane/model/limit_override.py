"""Limit override: another number for a limit, which an operator sets at run time for all its keys or for one."""

import math
from dataclasses import dataclass, replace
from typing import Final

from sidelane.model.checks import is_count
from sidelane.model.job import MAX_TEXT
from sidelane.model.json_text import is_storable
from sidelane.model.limit import NAME, Limit

MAX_OVERRIDES: Final = 200
"""Overrides that a store keeps."""

MAX_NUMBER: Final = 2**52
"""Maximum of a number of jobs, up to which every store counts exactly."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitOverride:
    """The numbers that a limit has instead of those that its jobs declare. Times are seconds since 1970 by the store's clock.

    It applies to the limit of one `key`, or to all limits of its name (None). One of a key comes before one of the name. Slots have
    no `window`, rates have one; an override of the other kind changes nothing. It ends by itself at `until`.

    Raises ValueError for a name, a number or a text that cannot be stored.
    """

    name: str
    key: str | None = None
    max: int
    window: float | None = None
    burst: int = 1
    since: float
    until: float | None = None
    by: str = ""
    reason: str = ""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(
                f"{self.name[:200]!a} cannot be the name of a limit: use 1 to 64 letters, digits or '_.-'."
            )
        for text in (self.key or "", self.by, self.reason):
            if len(text) > MAX_TEXT or not is_storable(text):
                raise ValueError(f"{text[:200]!a}: this is a text of at most {MAX_TEXT} characters.")
        for number in (self.max, self.burst):
            if not is_count(number) or number > MAX_NUMBER:
                raise ValueError(f"{self.id}: {number!r} is not a number of jobs, at least 1.")
        if self.window is not None and not 0.0 < self.window < math.inf:
            raise ValueError(f"{self.id}: the window {self.window!r} is not a number of seconds above 0.")

    @property
    def id(self) -> str:
        """What it applies to: the id of one limit, or a name, which contains no slash."""
        return self.name if self.key is None else f"{self.name}/{self.key}"

    def applied_to(self, limit: Limit) -> Limit:
        """Return a limit of the same kind with these numbers."""
        return replace(limit, max=self.max, window=self.window, burst=self.burst)
