"""One queue on a terminal: its wait against its target, its rates and slots, and the users in line."""

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from sidelane.admin.queue_overview import Line, QueueOverview
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration, format_rate
from sidelane.model.printable import printable_line

MAX_USERS = 20

USERS = Columns(
    headers=("USER", "WAITING", "AT LIMIT", "RUNNING", "STARTED 1 H", "MEDIAN WAIT"),
    droppable=("AT LIMIT",),
    shrinkable=("USER",),
    numbers=("WAITING", "AT LIMIT", "RUNNING", "STARTED 1 H", "MEDIAN WAIT"),
)


def queue_detail(console: Console, queue: QueueOverview, line: Line) -> RenderableType:
    """Return everything about a queue and its users."""
    facts = Table.grid(padding=(0, 2, 0, 0))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    stats = queue.stats
    facts.add_row("queue", Text(stats.name, "bold"))
    facts.add_row("state", Text("‖ paused", "bold yellow") if stats.paused else Text("● open", "green"))
    facts.add_row(
        "waiting",
        f"{stats.ready:,} ready, {stats.waiting_for_limit:,} at a limit, {stats.delayed:,} not due"
        + (f", {stats.waiting_for_batch:,} of paused batches" if stats.waiting_for_batch else ""),
    )
    facts.add_row("wait", _wait(queue))
    facts.add_row("running", f"{stats.running:,} of {queue.slots:,} slots")
    facts.add_row("rates", _rates(queue))
    if queue.held_by:
        facts.add_row("held by", printable_line(", ".join(queue.held_by)))
    if not line.users:
        return facts
    note = "" if line.complete else f"Users of the newest {line.jobs:,} jobs that were read."
    rows = [
        [
            Text(printable_line(user.user) if user.user else ""), Text(f"{user.waiting:,}"), Text(f"{user.held:,}"),
            Text(f"{user.running:,}"), Text(f"{user.started:,}"), Text("" if user.wait is None else duration(user.wait)),
        ]
        for user in line.users[:MAX_USERS]
    ]  # fmt: skip
    return Group(facts, Text(), fit_table(console, USERS, rows), Text(note, "dim"))


def _wait(queue: QueueOverview) -> Text:
    longest = "no job could start" if queue.wait is None else f"{duration(queue.wait)} at most"
    target = "no target" if queue.target is None else f"target {duration(queue.target)}"
    p95 = "" if queue.wait_p95 is None else f", p95 of the last hour {duration(queue.wait_p95)}"
    return Text(f"{longest}, {target}{p95}", "bold red" if queue.misses_target else "")


def _rates(queue: QueueOverview) -> str:
    arrive, start = format_rate(queue.arrivals) or "0/s", format_rate(queue.starts) or "0/s"
    clear = "" if queue.clear_in is None else f", clear in {duration(queue.clear_in)}"
    return f"{arrive} arrive, {start} start{clear}"
