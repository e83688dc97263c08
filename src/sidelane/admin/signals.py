"""Signals that a service has too few or too many processes: each with since when, and the figures that show it."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Any, Final

from sidelane.admin.documents import time_text
from sidelane.admin.figures import Chart
from sidelane.admin.findings.facts import WorkerExit
from sidelane.admin.findings.process_rules import MAX_LAG, OUT_OF_MEMORY
from sidelane.admin.process_loads import WINDOW, LoadWindow, Service
from sidelane.model.durations import DAY, duration_text
from sidelane.model.history import Count
from sidelane.model.sentence import Sentence, counted, sentence
from sidelane.model.sizes import size_text
from sidelane.model.worker import API
from sidelane.sizing.machines import Machine
from sidelane.sizing.services import MIN_API_PROCESSES, percent

HIGH_CPU: Final = 0.8
LOW_CPU: Final = 0.3
"""Shares of a core that a process uses if there are too few or too many processes."""

LOW_SLOTS: Final = 0.3
"""Share of busy slots below which workers have too little to do."""

HIGH_MEMORY: Final = 0.9
"""Share of the machine's memory that processes use if memory runs short."""

MIN_READY: Final = 10
"""Jobs that at least are ready in a queue that grows."""

MIN_GROWTH: Final = 3
"""Points of the history through which a queue grows."""


class Direction(StrEnum):
    """Whether a signal is a reason for more or for less."""

    RAISE = "raise"
    LOWER = "lower"


@dataclass(frozen=True, slots=True, kw_only=True)
class Signal:
    """One signal. `about` is the service, the queue or the machine. `until` is None while the signal is there."""

    kind: str
    direction: Direction
    about: str
    sentence: Sentence
    evidence: Sentence
    since: float
    until: float | None = None

    def document(self) -> Mapping[str, Any]:
        """Return a JSON document."""
        return {
            "kind": self.kind, "direction": self.direction, "about": self.about, "sentence": str(self.sentence),
            "evidence": str(self.evidence), "since": time_text(self.since), "until": time_text(self.until),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Span:
    """A time in which a condition held, and its points. `over` is false if it held at the last point."""

    since: float
    until: float
    first: int
    last: int
    over: bool


def signals_of(
    services: Sequence[Service],
    charts: Mapping[str, Chart],
    target_waits: Mapping[str, float],
    exits: Sequence[WorkerExit],
    machine: Machine,
) -> list[Signal]:
    """Return the signals of a period: those that are there first, and of each kind the last time."""
    found = [
        *(signal for service in services for signal in _of_service(service)),
        *(signal for queue, chart in charts.items() for signal in _of_queue(queue, chart, target_waits.get(queue))),
        *_of_memory(services, exits, machine),
    ]
    return sorted(found, key=lambda each: (each.until is not None, each.direction, each.since))


def _of_service(service: Service) -> Iterator[Signal]:
    for kind, holds, describe in _REASONS_FOR_MORE:
        span = _span_of(service, holds)
        if span is not None:
            text, evidence = describe(service.name, service.windows[span.first : span.last + 1])
            yield Signal(
                kind=kind, direction=Direction.RAISE, about=service.name, sentence=text, evidence=evidence,
                since=span.since, until=span.until if span.over else None,
            )  # fmt: skip
    yield from _low_cpu(service)


def _span_of(service: Service, holds: Callable[[LoadWindow], bool]) -> Span | None:
    return _last_span([(each.since, each.until, holds(each)) for each in service.windows], gap=WINDOW)


def _high_cpu(name: str, windows: Sequence[LoadWindow]) -> tuple[Sentence, Sentence]:
    most = percent(max(each.cpu for each in windows))
    return (
        sentence("CPU of {service} above {share}", service=name, share=percent(HIGH_CPU)),
        sentence(
            "A process used up to {share} of a core, as a mean of ten minutes and of all its processes.", share=most
        ),
    )


def _late_loop(name: str, windows: Sequence[LoadWindow]) -> tuple[Sentence, Sentence]:
    late = duration_text(max(each.loop_lag for each in windows))
    return (
        sentence("{service} is slow: its event loop is late", service=name),
        sentence("It came up to {time} too late, because of a blocking call or too little CPU.", time=late),
    )


def _unavailable(name: str, windows: Sequence[LoadWindow]) -> tuple[Sentence, Sentence]:
    total = f"{sum(each.unavailable for each in windows):,}"
    return (
        sentence("{service} answered with 503", service=name),
        sentence("{count} requests were answered with 503.", count=total),
    )


Described = Callable[[str, Sequence[LoadWindow]], tuple[Sentence, Sentence]]

_REASONS_FOR_MORE: tuple[tuple[str, Callable[[LoadWindow], bool], Described], ...] = (
    ("high-cpu", lambda each: each.cpu > HIGH_CPU, _high_cpu),
    ("late-loop", lambda each: each.loop_lag >= MAX_LAG, _late_loop),
    ("unavailable", lambda each: each.unavailable > 0, _unavailable),
)
"""The kind of each signal of a service, the condition that holds in each of its windows, and its sentence and evidence."""


def _low_cpu(service: Service) -> Iterator[Signal]:
    """Yield that a service has more processes than its load of a day, or of all its figures, needs."""
    least = MIN_API_PROCESSES if service.kind == API else 1
    span = _span_of(service, lambda each: each.cpu < LOW_CPU and each.slots_busy < LOW_SLOTS)
    if span is None or span.over or service.processes <= least or (span.first > 0 and span.until - span.since < DAY):
        return
    windows = service.windows[span.first : span.last + 1]
    text = "Each of {count} processes used up to {share} of a core."
    if service.slots:
        text = "Each of {count} processes used up to {share} of a core and {slots} of its slots."
    evidence = sentence(
        text, count=service.processes, share=percent(max(each.cpu for each in windows)),
        slots=percent(max(each.slots_busy for each in windows)),
    )  # fmt: skip
    yield Signal(
        kind="low-cpu",
        direction=Direction.LOWER,
        about=service.name,
        sentence=sentence("CPU of {service} below {share}", service=service.name, share=percent(LOW_CPU)),
        evidence=evidence,
        since=span.since,
    )


def _of_queue(queue: str, chart: Chart, target: float | None) -> Iterator[Signal]:
    times, step = chart.period.times, chart.period.step
    ready = chart.values(Count.MAX_READY)
    refused = chart.values(Count.REFUSED_QUEUE_FULL)
    grows = [False] + [now >= MIN_READY and now >= before for before, now in pairwise(ready)]
    span = _last_span(_points(times, step, grows))
    if span is not None and span.last - span.first + 1 >= MIN_GROWTH and ready[span.last] >= 2 * ready[span.first - 1]:
        yield _queue_signal(
            "queue-grows", queue, span, sentence("Queue {queue} grows", queue=queue),
            sentence(
                "{first} jobs were ready at first, {last} at last.",
                first=f"{ready[span.first - 1]:,}", last=f"{ready[span.last]:,}",
            ),
        )  # fmt: skip
    if (span := _last_span(_points(times, step, [count > 0 for count in refused]))) is not None:
        total = sum(refused[span.first : span.last + 1])
        yield _queue_signal(
            "queue-full", queue, span, sentence("Queue {queue} refused jobs with 503", queue=queue),
            sentence("It was full for {count} jobs.", count=f"{total:,}"),
        )  # fmt: skip
    if target is None:
        return
    waits = _mean_waits(chart)
    if (span := _last_span(_points(times, step, [wait > target for wait in waits]))) is not None:
        longest = duration_text(max(waits[span.first : span.last + 1]))
        yield _queue_signal(
            "wait-grows", queue, span,
            sentence("Jobs of {queue} wait longer than {target}", queue=queue, target=duration_text(target)),
            sentence("The mean wait within {time} was up to {longest}.", time=duration_text(step), longest=longest),
        )  # fmt: skip


def _queue_signal(kind: str, queue: str, span: Span, text: Sentence, evidence: Sentence) -> Signal:
    return Signal(
        kind=kind, direction=Direction.RAISE, about=queue, sentence=text, evidence=evidence, since=span.since,
        until=span.until if span.over else None,
    )  # fmt: skip


def _mean_waits(chart: Chart) -> list[float]:
    """Return the mean wait of each point in seconds, 0 for one without a start."""
    waits, starts = chart.values(Count.WAIT_MS), chart.values(Count.STARTED)
    return [wait / 1000 / started if started else 0.0 for wait, started in zip(waits, starts, strict=True)]


def _of_memory(services: Sequence[Service], exits: Sequence[WorkerExit], machine: Machine) -> Iterator[Signal]:
    killed = [each for each in exits if OUT_OF_MEMORY in each.reason]
    services = [
        service for service in services if service.hosts == {machine.name}
    ]  # what runs on others takes none of its memory
    used = sum(service.memory * service.processes for service in services)
    short = used > machine.usable_memory * HIGH_MEMORY
    if not killed and not short:
        return
    evidence = sentence(
        "Processes use up to {used} of {memory}.", used=size_text(used), memory=size_text(machine.memory)
    )
    if killed:
        last = max(killed, key=lambda each: each.at)
        killings = counted(
            len(killed),
            "1 worker was killed for lack of memory, the last one {worker}.",
            "{count} workers were killed for lack of memory, the last one {worker}.",
            worker=last.worker,
        )
        evidence = sentence("{first} {second}", first=killings, second=evidence) if services else killings
    lines = [line.since for service in services for line in service.lines if line.load.memory == service.memory]
    since = min(each.at for each in killed) if killed else min(lines, default=0.0)
    until = None if short or not killed else max(each.at for each in killed)
    yield Signal(
        kind="memory-short", direction=Direction.LOWER, about=machine.name, sentence=sentence("Memory runs short"),
        evidence=evidence, since=since, until=until,
    )  # fmt: skip


def _points(times: Sequence[float], step: int, holds: Sequence[bool]) -> list[tuple[float, float, bool]]:
    return [(at, at + step, each) for at, each in zip(times, holds, strict=True)]


def _last_span(points: Sequence[tuple[float, float, bool]], *, gap: float = 0.0) -> Span | None:
    """Return the last time in which a condition held, from points with their begin and end. A `gap` in seconds belongs to it."""
    last = max((index for index, (_, _, holds) in enumerate(points) if holds), default=None)
    if last is None:
        return None
    first = last
    while first and points[first - 1][2] and points[first][0] - points[first - 1][1] <= gap + 1:
        first -= 1
    over = last < len(points) - 1
    return Span(points[first][0], points[last][1], first, last, over)
