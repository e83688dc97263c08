"""Advice and plans: the arithmetic of each service, signals, and a closing table that fits 80 columns."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sidelane.admin.advice import Advice, ServiceAdvice
from sidelane.admin.signals import Direction, Signal
from sidelane.cli.output.console import output, write
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration, timestamp
from sidelane.model.printable import printable_line
from sidelane.model.sizes import size_text
from sidelane.ops.advised_lines import ChangedLine
from sidelane.sizing.fit import Fit
from sidelane.sizing.machines import CHECKED, MACHINES
from sidelane.sizing.services import Kind, ServiceSize, Step, number, slot_count

SERVICES = Columns(
    headers=("SERVICE", "PROCESSES", "SLOTS", "MEMORY", "TOTAL", "CORES", "CAPACITY", "FITS"),
    shrinkable=("SERVICE",),
    numbers=("PROCESSES", "SLOTS", "MEMORY", "TOTAL", "CORES", "CAPACITY"),
)

UNITS = {Kind.API: "requests/s", Kind.WORKER: "jobs/s"}

ARROWS = {Direction.RAISE: ("↑ ", "bold yellow"), Direction.LOWER: ("↓ ", "bold cyan")}


def print_plan(fit: Fit, rule: Sequence[Step]) -> None:
    """Print the plan of a load on paper, and beside it the rule of thumb."""
    console = output()
    for service in fit.services:
        write(console, _title(service), _steps(service), Text())
    _print_fit(console, fit)
    write(console, Text(), Text("The rule of thumb, for comparison", "bold"), _grid(rule))
    write(
        console, Text("  It knows neither the rate nor the run time. Here one process runs many jobs at once.", "dim")
    )


def print_advice(advice: Advice, changed: Sequence[ChangedLine], file: Path | None) -> None:
    """Print the advice, and the lines to change in the description of the service."""
    console = output()
    write(
        console,
        Text(f"By the figures of {timestamp(advice.since)[:16]} to {timestamp(advice.until)[:16]}", "dim"),
        Text(),
    )
    if not advice.services:
        write(console, Text("No process of this store has run in this time, so there is nothing to size by."))
        write(console, Text("Plan on paper instead: sidelane advise --plan --rate 5 --seconds 120", "dim"))
        return
    for each in advice.services:
        write(console, _title(each.size, each), _steps(each.size), Text())
    _print_signals(console, advice.signals)
    for note in advice.notes:
        write(console, Text.assemble(("· ", "dim"), printable_line(str(note))))
    write(console, Text())
    _print_fit(console, advice.fit)
    if changed:
        _print_changed(console, changed, file)


def _title(size: ServiceSize, advised: ServiceAdvice | None = None) -> Text:
    """Return the result of one service, and on a second line what it is now and the time by which it is sized."""
    title = Text(f"{size.name}: {_numbers(size.processes, size.slots)}", "bold")
    if advised is not None:
        busiest = f"; sized by its busiest time, from {timestamp(advised.busiest)[:16]}" if advised.busiest else ""
        title.append(f"\n  now {_numbers(advised.processes, advised.slots)}{busiest}", "not bold dim")
    return title


def _numbers(processes: int, slots: int) -> str:
    count = "1 process" if processes == 1 else f"{processes} processes"
    return f"{count}, {slot_count(slots)}{' each' if processes > 1 else ''}" if slots else count


def _steps(size: ServiceSize) -> RenderableType:
    """Return the arithmetic of a service, and the waits to expect."""
    table = _grid(size.steps)
    for name, wait in size.waits.items():
        expected = "the queue grows" if wait == float("inf") else f"{duration(wait)} median wait to expect"
        table.add_row(Text(f"  Erlang C{f' for {name}' if name else ''}"), Text(f"= {expected}"))
    return table


def _grid(steps: Sequence[Step]) -> Table:
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for step in steps:
        reason = (f": {step.reason}", "dim") if step.reason else ""
        table.add_row(Text(f"  {printable_line(str(step.calculation))}"), Text.assemble("= ", str(step.result), reason))
    return table


def _print_signals(console: Console, signals: Sequence[Signal]) -> None:
    if not signals:
        write(console, Text("No signal: nothing asks for more or fewer processes.", "dim"))
    for each in signals:
        over = f" to {timestamp(each.until)[:16]}" if each.until is not None else ""
        when = f"  {'from' if over else 'since'} {timestamp(each.since)[:16]}{over}"
        line = Text.assemble(
            ARROWS[each.direction], (printable_line(str(each.sentence)), "bold" if not over else ""), (when, "dim")
        )
        write(console, line, Padding(Text(printable_line(str(each.evidence))), (0, 0, 0, 2)))


def _print_fit(console: Console, fit: Fit) -> None:
    """Print the closing table, what there is on the machine, and whether that suffices."""
    rows = [_row(each, fit) for each in fit.services]
    total = ["", "", "", size_text(fit.memory), number(fit.cores), "", "yes" if fit.fits else "no"]
    rows.append([Text("total", "bold"), *(Text(cell, "bold") for cell in total)])
    write(console, fit_table(console, SERVICES, rows))
    write(console, Text("MEMORY and CAPACITY are those of one process, TOTAL and CORES those of all.", "dim"))
    for assumption in dict.fromkeys(str(text) for each in fit.services for text in each.assumptions):
        write(console, Text(f"Assumed: {assumption}.", "dim"))
    write(console, Text())
    write(console, Text.assemble((fit.machine.name, "bold"), *_checked(fit)), _grid(fit.steps), _verdict(fit))


def _checked(fit: Fit) -> tuple[str, ...]:
    return (f" (table of {CHECKED})",) if fit.machine.name in MACHINES else ()


def _row(size: ServiceSize, fit: Fit) -> list[Text]:
    fits = fit.fits_alone(size)
    return [
        Text(size.name),
        Text(str(size.processes)),
        Text(f"{size.slots:,}" if size.slots else ""),
        Text(size_text(size.memory)),
        Text(size_text(size.total_memory)),
        Text(number(size.cores)),
        Text(f"{number(size.capacity)} {UNITS[size.kind]}" if size.capacity is not None else ""),
        Text("yes" if fits else "no", "green" if fits else "bold red"),
    ]


def _verdict(fit: Fit) -> Text:
    if fit.fits:
        return Text.assemble(("✓ ", "green"), "It fits.")
    ways = ["It fits only as long as there are CPU credits." if fit.on_credits else "It does not fit."]
    ways.append(f"{fit.larger.name} would do." if fit.larger is not None else "No machine of the table would do.")
    if fit.count is not None:
        ways.append(f"So would {fit.count:,} of {fit.machine.name}, with Redis or Valkey as the store.")
    return Text.assemble(("✗ ", "bold red"), " ".join(ways))


def _print_changed(console: Console, changed: Sequence[ChangedLine], file: Path | None) -> None:
    write(console, Text(), Text(f"Change in {file.name if file is not None else 'the description'}:", "bold"))
    for table in dict.fromkeys(each.table for each in changed):
        write(console, Text(f"  [{table}]"))
        for each in changed:
            if each.table == table:
                write(console, Text.assemble(f"  {each.key} = {each.value}", (f"  # now {each.now}", "dim")))
