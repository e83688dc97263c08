"""`sidelane check`: whether settings, lane, store, machine and service fit together, and what to do if not."""

from pathlib import Path

import typer
from rich.table import Table
from rich.text import Text

from sidelane.admin.check_results import CheckResult, Report, Severity
from sidelane.cli.locate import load_lane
from sidelane.cli.options import Common, expand_options
from sidelane.cli.output.console import output, print_json, write
from sidelane.model.printable import printable_line
from sidelane.ops.checkup import CANNOT_WORK, check_up
from sidelane.processes.exit_code import Exit

MARKS = {
    Severity.OK: Text("✓", "green"),
    Severity.WARNING: Text("!", "bold yellow"),
    Severity.ERROR: Text("✗", "bold red"),
}


@expand_options
def check(*, common: Common) -> None:
    """Check the installation: settings, lane, store, clock, ports, limits of the machine, timeouts, secrets.

    Each result says what to do. The lane is that of `--lane`, or of the setting `lane`; without one, its checks are left out.
    The service is the one that the current folder describes.

    Exit code 0: no problem; 1: a warning or an error; 3: the settings, the lane or the store cannot be used.
    """
    report = check_up(Path.cwd(), load_lane, lane=common.lane, store=common.store)
    if common.as_json:
        print_json(report.document())
    else:
        write(output(), _table(report))
    if report.has_error(*CANNOT_WORK):
        raise typer.Exit(Exit.CONFIGURATION)
    if report.severity is not Severity.OK:
        raise typer.Exit(Exit.FAILED)


def _table(report: Report) -> Table:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for result in report.results:
        table.add_row(MARKS[result.severity], Text(result.id, "bold"), _text(result))
    for each in report.left_out:
        table.add_row(
            Text("-", "dim"), Text(each.id, "dim"), Text(f"not checked: {printable_line(each.reason)}", "dim")
        )
    return table


def _text(result: CheckResult) -> Text:
    style = {Severity.OK: "", Severity.WARNING: "yellow", Severity.ERROR: "red"}[result.severity]
    text = Text(printable_line(result.message), style)
    return text.append(f" → {printable_line(result.action)}", "default") if result.action else text
