"""The live overview on a terminal: findings, queues, processes and the longest running jobs, in as many lines as there are."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.layout import Layout
from rich.table import Table
from rich.text import Text

from sidelane.admin.findings.finding import MARKS, Finding
from sidelane.admin.overview import Overview, used_slots, waiting_jobs
from sidelane.admin.queue_overview import QueueOverview
from sidelane.admin.workers import MAX_RUNNING
from sidelane.cli.output.attention import STYLES
from sidelane.cli.output.process_states import health_text, load_text
from sidelane.cli.output.tables import GUTTER, Columns, fit_table
from sidelane.cli.output.time_format import duration, format_rate, timestamp
from sidelane.model.job import JobRecord
from sidelane.model.printable import printable_line
from sidelane.model.sizes import size_text
from sidelane.model.worker import WorkerInfo

QUEUES: Final = Columns(
    headers=("QUEUES", "WAITING", "OLDEST", "TARGET", "P50", "P95", "IN", "OUT", "SLOTS", "HELD BY"),
    droppable=("HELD BY", "P50", "IN"),
    shrinkable=("QUEUES", "HELD BY"),
    numbers=("WAITING", "OLDEST", "TARGET", "P50", "P95", "IN", "OUT", "SLOTS"),
)

PROCESSES: Final = Columns(
    headers=("PROCESSES", "HEALTH", "BUSY", "CPU", "MEMORY", "LOOP LAG", "UP", "RELEASE"),
    droppable=("RELEASE", "UP", "LOOP LAG"),
    shrinkable=("PROCESSES", "HEALTH", "RELEASE"),
    numbers=("BUSY", "CPU", "MEMORY", "LOOP LAG", "UP"),
)

JOBS: Final = Columns(
    headers=("LONGEST RUNNING JOBS", "FOR", "TASK", "QUEUE", "USER", "WORKER"),
    droppable=("USER", "QUEUE", "WORKER"),
    shrinkable=("TASK", "QUEUE", "USER", "WORKER"),
    numbers=("FOR",),
)

QUIT: Final = "q"


@dataclass(frozen=True, slots=True)
class Order:
    """An order of a table. Its key is the first letter of its name."""

    name: str
    value: Callable[[Any], float]


QUEUE_ORDERS: Final = (
    Order("target", lambda queue: 0.0),  # as the dashboard lists them
    Order("oldest", lambda queue: -(queue.wait or 0.0)),
    Order("waiting", lambda queue: -queue.stats.queued),
)

PROCESS_ORDERS: Final = (
    Order("name", lambda worker: 0.0),
    Order("cpu", lambda worker: -worker.cpu),
    Order("memory", lambda worker: -worker.memory),
)

FIXED_LINES: Final = 6
"""Lines above and between the rows of the four tables: two about the whole store, and four headings."""

MIN_SPACED: Final = 30
"""Lines of a screen that has an empty line before each table."""


@dataclass(slots=True)
class TopScreen:
    """The screen of `sidelane top`: the newest overview of a store, in the orders that were chosen.

    `store` is its URL, for display. `problem` is why the store cannot be read at the moment.
    """

    store: str
    overview: Overview | None = None
    problem: str = ""
    closed: bool = False
    queue_order: Order = QUEUE_ORDERS[0]
    process_order: Order = PROCESS_ORDERS[0]

    def press(self, key: str) -> None:
        """Do what a key stands for. Any other key does nothing."""
        self.closed = self.closed or key == QUIT
        self.queue_order = next((each for each in QUEUE_ORDERS if each.name[0] == key), self.queue_order)
        self.process_order = next((each for each in PROCESS_ORDERS if each.name[0] == key), self.process_order)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        layout = Layout()
        layout.split_column(Layout(Group(*self.lines(console, options.size.height - 1))), Layout(self._keys(), size=1))
        yield layout

    def lines(self, console: Console, height: int | None = None) -> Iterator[RenderableType]:
        """Yield what is shown of the store, in `height` lines if that is given."""
        yield self._head()
        overview = self.overview
        if overview is None:
            return
        yield _summary(overview)
        findings, jobs = overview.findings, overview.longest
        queues = sorted(overview.queues, key=self.queue_order.value)
        workers = sorted(overview.workers, key=self.process_order.value)
        spaced = height is None or height >= MIN_SPACED
        wanted = [2 * len(findings), len(queues), len(workers), len(jobs)]
        rows = wanted if height is None else _shared(wanted, height - FIXED_LINES - (len(wanted) if spaced else 0))
        for table in (
            _finding_table(findings, rows[0], overview.at),
            _queue_table(console, queues, rows[1]),
            _process_table(console, workers, rows[2], overview.at),
            _job_table(console, jobs, rows[3], overview),
        ):
            yield from ([Text()] if spaced else [])
            yield table

    def _head(self) -> Text:
        """Return the time and the store, or why the store cannot be read."""
        at = "" if self.overview is None else timestamp(self.overview.at)[11:]
        if self.problem:
            age = f" since {at}" if at else ""
            return _one_line(("! ", "bold red"), (f"The store does not answer{age}: {self.problem}", "red"))
        return _one_line(("Sidelane  ", "bold"), f"{at or 'reading'}  ", (self.store, "dim"))

    def _keys(self) -> Text:
        parts: list[str | tuple[str, str]] = [f"[{QUIT}]uit"]
        for title, orders, chosen in (
            ("queues:", QUEUE_ORDERS, self.queue_order),
            ("processes:", PROCESS_ORDERS, self.process_order),
        ):
            parts.append((f"  {title}", "dim"))
            for order in orders:
                parts += [" ", (f"[{order.name[0]}]{order.name[1:]}", "reverse" if order is chosen else "")]
        return _one_line(*parts)


def _shared(wanted: Sequence[int], rows: int) -> list[int]:
    """Return how many of the rows each table gets: what it wants, or an equal share of what the smaller ones leave."""
    shares, left = [0] * len(wanted), max(0, rows)
    for served, table in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        shares[table] = min(wanted[table], left // (len(wanted) - served))
        left -= shares[table]
    return shares


def _summary(overview: Overview) -> Text:
    (used, slots), day = used_slots(overview.workers), overview.day
    parts: list[str | tuple[str, str]] = [
        (f"{used:,} of {slots:,}", "bold"), " slots busy   ",
        (f"{sum(waiting_jobs(overview.queues)):,}", "bold"), " waiting   24 h: ",
        (f"{day.ended:,}", "bold"), " ended",
    ]  # fmt: skip
    if day.failed_share is not None:
        parts += [", ", (f"{day.failed_share:.1%}".replace("%", " %"), "bold red" if day.failed else "bold"), " failed"]
    if day.first_event is not None:
        parts.append(f"   first event {duration(day.first_event.p50)}, p95 {duration(day.first_event.p95)}")
    return _one_line(*parts)


def _finding_table(findings: Sequence[Finding], rows: int, now: float) -> RenderableType:
    """Return what needs a person, worst first, with its evidence if there are two rows for each."""
    if not findings:
        return _one_line(("✓ Nothing needs you.", "green"))
    evidence = rows >= 2 * len(findings)
    listed = findings if evidence else findings[:rows]
    table = Table(box=None, pad_edge=False, padding=(0, GUTTER, 0, 0), header_style="dim")
    table.add_column("", no_wrap=True)
    table.add_column("", no_wrap=True)
    table.add_column(_title("NEEDS YOU", listed, findings), overflow="ellipsis")
    table.add_column("CAUSE" if any(finding.cause for finding in listed) else "", no_wrap=True)
    table.add_column("FOR", no_wrap=True, justify="right")
    numbers = {finding.key: str(number) for number, finding in enumerate(findings, 1)}
    for finding in listed:
        style = STYLES[finding.severity]
        text = _one_line((finding.sentence, style))
        if evidence:
            text = Text("\n").join([text, _one_line((finding.evidence, "dim"))])
            text.no_wrap = True
        age = "" if finding.since is None else duration(now - finding.since)
        cause = numbers.get(finding.cause or "", "")
        table.add_row(Text(MARKS[finding.severity], style), Text(numbers[finding.key], "dim"), text, cause, age)
    return table


def _queue_table(console: Console, queues: Sequence[QueueOverview], rows: int) -> RenderableType:
    if not queues:
        return _one_line(("No queue has had a job yet.", "dim"))
    listed = [_queue_row(queue) for queue in queues[:rows]]
    return _titled_table(console, QUEUES, _title("QUEUES", listed, queues), listed)


def _queue_row(queue: QueueOverview) -> list[Text]:
    stats = queue.stats
    name = Text(stats.name, "bold")
    if stats.paused:
        name = Text.assemble(("‖ ", "bold yellow"), name)
    return [
        name,
        Text(f"{stats.queued:,}", "" if stats.queued else "dim"),
        Text(_seconds(queue.wait), "bold red" if queue.misses_target else ""),
        Text(_seconds(queue.target), "dim"),
        Text(_seconds(queue.wait_p50)),
        Text(_seconds(queue.wait_p95)),
        Text(format_rate(queue.arrivals)),
        Text(format_rate(queue.starts)),
        Text(f"{stats.running:,}/{queue.slots:,}", "yellow" if stats.running >= queue.slots > 0 else ""),
        Text(", ".join(queue.held_by), "magenta"),
    ]


def _process_table(console: Console, workers: Sequence[WorkerInfo], rows: int, now: float) -> RenderableType:
    if not workers:
        return _one_line(("No process is alive. Start a worker with `sidelane worker`.", "yellow"))
    listed = [_process_row(worker, now) for worker in workers[:rows]]
    return _titled_table(console, PROCESSES, _title("PROCESSES", listed, workers), listed)


def _process_row(worker: WorkerInfo, now: float) -> list[Text]:
    return [
        Text(worker.name, "bold"),
        health_text(worker.health),
        load_text(worker),
        Text(f"{worker.cpu:.0%}".replace("%", " %")),
        Text(size_text(worker.memory)),
        Text(f"{worker.loop_lag * 1000:,.0f} ms"),
        Text(duration(now - worker.started)),
        Text(worker.release, "dim"),
    ]


def _job_table(console: Console, jobs: Sequence[JobRecord], rows: int, overview: Overview) -> RenderableType:
    if not jobs:
        return _one_line(("No job runs.", "dim"))
    names = {worker.id: worker.name for worker in overview.workers}
    cells = [
        [
            Text(job.id), Text(duration(overview.at - (job.started or overview.at))), Text(job.spec.task, "bold"),
            Text(job.spec.queue), Text(job.spec.user or ""), Text(names.get(job.worker or "", ""), "dim"),
        ]
        for job in jobs[:rows]
    ]  # fmt: skip
    title = JOBS.headers[0] if overview.complete else f"LONGEST OF THE NEWEST {MAX_RUNNING}"
    return _titled_table(console, JOBS, title, cells)


def _titled_table(console: Console, columns: Columns, title: str, rows: Sequence[Sequence[Text]]) -> Table:
    """Return a table with another first heading."""
    first = columns.headers[0]
    headers, shrinkable = (
        [title if each == first else each for each in names] for names in (columns.headers, columns.shrinkable)
    )
    return fit_table(console, replace(columns, headers=headers, shrinkable=shrinkable), rows)


def _title(name: str, listed: Sequence[object], everything: Sequence[object]) -> str:
    """Return a heading, which says how many are listed unless all are."""
    return name if len(listed) == len(everything) else f"{name} ({len(listed)} of {len(everything)})"


def _seconds(seconds: float | None) -> str:
    return "" if seconds is None else duration(seconds)


def _one_line(*parts: str | tuple[str, str]) -> Text:
    """Return a line, which is cut if the terminal is too narrow."""
    printable = [
        printable_line(part) if isinstance(part, str) else (printable_line(part[0]), part[1]) for part in parts
    ]
    return Text.assemble(*printable, no_wrap=True, overflow="ellipsis")
