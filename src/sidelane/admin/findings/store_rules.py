"""Findings about the store: a server that restarted or failed over, memory and disk that fill up, alerts that do not arrive."""

from collections.abc import Callable, Iterator, Sequence

from sidelane.admin.findings.facts import Facts, SizeSample
from sidelane.admin.findings.finding import Action, Finding, Severity
from sidelane.model.durations import DAY, HOUR, duration_text
from sidelane.model.sentence import Sentence, sentence
from sidelane.model.sizes import size_text

CHANGE_LISTED = 3600.0
"""Seconds for which a restart or a fail-over of the server is shown."""

MAX_PART = 0.8
"""Part of the store's maximum size from which on it is a finding."""

EARLY_PART = 0.5
"""Part from which on it is a finding too, if the store is full within a day at the present growth."""

MIN_DISK_FREE = 1_000_000_000
"""Bytes of a disk that should be free."""

MIN_SPAN = 600.0
"""Seconds between two samples that show a growth."""

SERVER_MEMORY = "memory of the server"


def changed_server(facts: Facts) -> Iterator[Finding]:
    """Yield that the store's server restarted, or that another took over."""
    if facts.server_changed is None or facts.now - facts.server_changed > CHANGE_LISTED:
        return
    yield Finding(
        key="store-server",
        severity=Severity.INFO,
        sentence=sentence(
            "Store: {store} restarted or failed over {time} ago",
            store=facts.store.kind,
            time=duration_text(facts.now - facts.server_changed),
        ),
        evidence=_may_be_lost(facts),
        action=Action(sentence("See how the store keeps jobs"), "sidelane store show"),
        since=facts.server_changed,
    )


def full_store(facts: Facts) -> Iterator[Finding]:
    """Yield that the store is nearly as large as it may be, or will be soon."""
    used, most = used_size(facts), facts.store.max_size
    if used is None or not most:
        return
    part = used / most
    left = _seconds_left(facts, lambda sample: sample.used, most)
    if part < MAX_PART and not (part >= EARLY_PART and left is not None and left < DAY):
        return
    yield Finding(
        key="store-size",
        severity=Severity.URGENT if part >= 0.95 or (left is not None and left < HOUR) else Severity.SOON,
        sentence=sentence("Store: it is {share} full{rate}", share=f"{part * 100:.0f} %", rate=_full_in(left)),
        evidence=[
            sentence(
                "{used} of {most} used; {jobs} jobs, {failed} of them failed.",
                used=size_text(used),
                most=size_text(most),
                jobs=f"{facts.store.jobs:,}",
                failed=f"{facts.store.failed:,}",
            )
        ],
        action=Action(sentence("See what fills the store, then shorten the retention of jobs"), "sidelane store show"),
    )


def full_disk(facts: Facts) -> Iterator[Finding]:
    """Yield that the disk of the store has little free space, or will have soon."""
    free = facts.store.disk_free
    if free is None:
        return
    left = _seconds_left(facts, lambda sample: None if sample.disk_free is None else -sample.disk_free, 0)
    if free >= MIN_DISK_FREE and (left is None or left >= DAY):
        return
    yield Finding(
        key="store-disk",
        severity=Severity.URGENT if free < MIN_DISK_FREE / 4 or (left is not None and left < HOUR) else Severity.SOON,
        sentence=sentence("Store: its disk has {size} left{rate}", size=size_text(free), rate=_full_in(left)),
        evidence=[
            sentence(
                "The store has {jobs} jobs in {size}.",
                jobs=f"{facts.store.jobs:,}",
                size=size_text(facts.store.size or 0),
            )
        ],
        action=Action(sentence("Free some of the disk, or shorten the retention of jobs"), "sidelane store show"),
    )


def undelivered_alerts(facts: Facts) -> Iterator[Finding]:
    """Yield that alerts do not arrive."""
    if facts.alert_error:
        yield Finding(
            key="alerts",
            severity=Severity.SOON,
            sentence=sentence("Alerts do not arrive: {error}", error=facts.alert_error.rstrip(".")),
            evidence=[sentence("Findings are listed by `sidelane attention` only.")],
            action=Action(sentence("Correct SIDELANE_ALERT_URL"), "sidelane check"),
        )


def used_size(facts: Facts) -> int | None:
    """Return the bytes that count against the maximum size: the memory of a server, or what a file holds."""
    memory = facts.store.details.get(SERVER_MEMORY)
    return memory if isinstance(memory, int) else facts.store.used


def _may_be_lost(facts: Facts) -> list[Sentence]:
    """Return what may be lost, by the settings of the store."""
    if facts.durability_warnings:
        return [sentence("The store may lose jobs: {warning}.", warning=each) for each in facts.durability_warnings]
    if "everysec" in str(facts.store.details.get("append-only file", "")):
        return [
            sentence("With appendfsync everysec, up to 2 s of acknowledged work may be gone if its machine failed.")
        ]
    return [sentence("What was acknowledged is kept, unless a replica took over that had not received it yet.")]


def _seconds_left(facts: Facts, value: Callable[[SizeSample], int | None], full: int) -> float | None:
    """Return in how many seconds a growing value reaches `full`, or None if it does not grow or this is unknown."""
    samples: Sequence[tuple[float, int]] = [
        (each.at, size) for each in facts.samples if (size := value(each)) is not None
    ]
    if len(samples) < 2 or samples[-1][0] - samples[0][0] < MIN_SPAN:
        return None
    (first_at, first), (last_at, last) = samples[0], samples[-1]
    growth = (last - first) / (last_at - first_at)
    return max(0.0, (full - last) / growth) if growth > 0 else None


def _full_in(seconds: float | None) -> Sentence | str:
    return "" if seconds is None else sentence(", full in {time} at this rate", time=duration_text(seconds))
