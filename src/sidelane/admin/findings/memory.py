"""What processes remember about findings, in one versioned value: since when each is there, what was sent, sizes of the store."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Final

from pydantic import TypeAdapter, ValidationError

from sidelane.admin.findings.facts import SizeSample
from sidelane.admin.findings.finding import Finding
from sidelane.model.shared_state import ValueChange, VersionedValue
from sidelane.stores.contract import Store

MEMORY: Final = "attention"
"""Name of the versioned value."""

SAMPLE_INTERVAL: Final = 300.0
MAX_SAMPLES: Final = 144
"""Seconds between two samples of the store's size, and the number of samples that are kept: those of twelve hours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SentAlert:
    """An alert that was sent. `gone` is since when its finding is over, or None while it is there."""

    sentence: str
    gone: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertState:
    """The alerts that were sent, and the message that is being sent.

    `sending` is the id of this message, and empty if there is none. `failed` counts its tries that failed, `retry_at` is the time
    of the next try, and `error` says why the last one failed. `receiver` stands for the address that it was sent to.
    """

    sent: Mapping[str, SentAlert] = field(default_factory=dict)
    receiver: str = ""
    sending: str = ""
    failed: int = 0
    retry_at: float = 0.0
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """`seen` is when each finding was first found. Times are seconds since 1970 by the store's clock."""

    seen: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[SizeSample, ...] = ()
    server: str = ""
    server_changed: float | None = None
    alerts: AlertState = field(default_factory=AlertState)

    def with_server(self, server: str, now: float) -> "Memory":
        """Return what to remember about the server that has the store now, by `StoreInfo.server`."""
        if server in ("", self.server):
            return self
        return replace(self, server=server, server_changed=now if self.server else None)

    def with_sample(self, sample: SizeSample) -> "Memory":
        """Return what to remember with this size of the store, if the last sample is old enough."""
        if self.samples and sample.at - self.samples[-1].at < SAMPLE_INTERVAL:
            return self
        return replace(self, samples=(*self.samples, sample)[-MAX_SAMPLES:])

    def with_findings(self, findings: Iterable[Finding], now: float) -> "Memory":
        """Return what to remember while exactly these findings are there."""
        return replace(self, seen={each.key: self.seen.get(each.key, now) for each in findings})


def load_memory(value: VersionedValue | None) -> Memory:
    """Return what is remembered. A value that another release wrote in another form counts as none."""
    if value is None:
        return Memory()
    try:
        return _adapter().validate_json(value.text)
    except ValidationError:
        return Memory()


async def save_memory(store: Store, memory: Memory, replaces: VersionedValue | None) -> VersionedValue | None:
    """Save what to remember, and return the new value, or None if another process has saved its own meanwhile."""
    change = ValueChange(
        name=MEMORY, text=_adapter().dump_json(memory).decode(), replaces=None if replaces is None else replaces.version
    )
    if not await store.set_value(change):
        return None
    return VersionedValue(name=MEMORY, text=change.text or "", version=change.version, changed=0.0)


@cache
def _adapter() -> TypeAdapter[Memory]:
    return TypeAdapter(Memory)
