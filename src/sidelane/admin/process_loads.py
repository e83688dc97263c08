"""Process loads as operators see them: what each service's processes used over time, from the journal that they write."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from sidelane.admin.figures import Period
from sidelane.model.process_load import PROCESS_LOADS, ProcessLoad, load_of
from sidelane.model.worker import API, WorkerInfo
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import without_internal

WINDOW = 600.0
"""Seconds of the windows in which loads of several processes are added up. It is the time between two lines of a process."""

LATELY = 3 * WINDOW
"""Seconds within which a process without heartbeats must have written a line to count as one of its service."""

MIN_REQUESTS = 100
"""Requests of a window by which the CPU of a request is known."""


@dataclass(frozen=True, slots=True)
class TimedLoad:
    """A line of the journal, which covers the time from `since` to `until`."""

    until: float
    load: ProcessLoad

    @property
    def since(self) -> float:
        return self.until - self.load.seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadWindow:
    """What the processes of a service used together in about ten minutes. CPU is in cores, `requests` is per second."""

    since: float
    until: float
    cores: float
    cpu: float  # of one process on average, without its children
    slots_busy: float  # share, 0 for API processes
    loop_lag: float
    unavailable: int
    requests: float
    counted: int  # requests


@dataclass(frozen=True, kw_only=True)
class Service:
    """The processes of one group or name: their lines, oldest first, and those that live or ran lately.

    `queues` has the slots of one process by queue.
    """

    name: str
    kind: str
    lines: Sequence[TimedLoad]
    live: Sequence[WorkerInfo]

    @property
    def processes(self) -> int:
        """How many run now, or ran when the last line was written."""
        if self.live:
            return len(self.live)
        last = max(line.until for line in self.lines)
        return len({line.load.process for line in self.lines if line.until > last - WINDOW / 2})

    @property
    def slots(self) -> int:
        """Slots of one process."""
        return self.live[-1].slots if self.live else self.lines[-1].load.slots

    @property
    def queues(self) -> Sequence[str]:
        return tuple(without_internal(self.live[-1].queues)) if self.live else self.lines[-1].load.queues

    @property
    def memory(self) -> int:
        """The most bytes that one process has had, or 0."""
        return max([line.load.memory for line in self.lines] + [each.memory for each in self.live], default=0)

    @property
    def hosts(self) -> set[str]:
        return {each.host for each in self.live} or {self.lines[-1].load.host}

    @cached_property
    def windows(self) -> list[LoadWindow]:
        """The lines of all processes by time."""
        found: dict[int, list[TimedLoad]] = defaultdict(list)
        for line in self.lines:
            found[int(line.until // WINDOW)].append(line)
        return [_window(found[number]) for number in sorted(found)]


async def read_lines(store: Store, since: float) -> list[TimedLoad]:
    """Return the lines of the journal since a time, oldest first."""
    found: list[TimedLoad] = []
    before: int | None = None
    while page := await store.read_journal(PROCESS_LOADS, before=before):
        found += [TimedLoad(entry.at, load_of(entry.text)) for entry in page if entry.at >= since]
        before = page[-1].number
        if page[-1].at < since:
            break
    return found[::-1]


def services_of(lines: Iterable[TimedLoad], live: Iterable[WorkerInfo]) -> list[Service]:
    """Return the services that run, or ran when the last line was written: API first, then workers by name.

    An API process that runs workers too is one of these, because its CPU cannot be told apart.
    """
    lines, live = list(lines), [each for each in live if not each.isolation]
    workers = {(line.load.host, line.load.pid) for line in lines if line.load.kind != API}
    workers |= {(each.host, each.pid) for each in live if each.kind != API}
    by_name: dict[tuple[str, str], tuple[list[TimedLoad], list[WorkerInfo]]] = defaultdict(lambda: ([], []))
    for line in lines:
        if line.load.kind != API or (line.load.host, line.load.pid) not in workers:
            by_name[line.load.kind, service_name(line.load.name)][0].append(line)
    for each in live:
        if each.kind != API or (each.host, each.pid) not in workers:
            by_name[each.kind, service_name(each.name)][1].append(each)
    last = max((line.until for line in lines), default=0.0)
    return [
        Service(name=name, kind=kind, lines=own, live=running)
        for (kind, name), (own, running) in sorted(by_name.items())
        if running or own[-1].until > last - LATELY
    ]


def running_time(lines: Sequence[TimedLoad], live: Sequence[WorkerInfo], period: Period) -> tuple[float, float]:
    """Return since when and until when processes are known to have run. Without any, it is the period."""
    starts = [line.since for line in lines] + [each.started for each in live]
    ends = [period.until] if live else [line.until for line in lines]
    return min(starts, default=period.since), max(ends, default=period.until)


def service_name(name: str) -> str:
    """Return the group of a process that belongs to one ("chat" of "chat-2@host"), else its own name."""
    group, at, _ = name.partition("@")
    return group.rpartition("-")[0] if at and "-" in group else name


def _window(lines: Sequence[TimedLoad]) -> LoadWindow:
    """Add up the lines of a window. A process that ran for a part of it counts for this part."""
    loads = [line.load for line in lines]
    seconds = sum(load.seconds for load in loads)
    longest = max(_seconds_by_process(loads).values())
    slots = sum(load.slots * load.seconds for load in loads)
    counted = sum(load.requests for load in loads)
    return LoadWindow(
        since=min(line.since for line in lines),
        until=max(line.until for line in lines),
        cores=sum((load.cpu + load.children_cpu) * load.seconds for load in loads) / longest,
        cpu=sum(load.cpu * load.seconds for load in loads) / seconds,
        slots_busy=sum(load.running * load.seconds for load in loads) / slots if slots else 0.0,
        loop_lag=max(load.loop_lag for load in loads),
        unavailable=sum(load.unavailable for load in loads),
        requests=counted / longest,
        counted=counted,
    )


def _seconds_by_process(loads: Iterable[ProcessLoad]) -> Mapping[str, float]:
    found: dict[str, float] = defaultdict(float)
    for load in loads:
        found[load.process] += load.seconds
    return found
