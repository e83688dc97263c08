"""Findings on a terminal: a mark, a number, the sentence with its evidence, and what to do."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from sidelane.admin.findings.finding import MARKS, Finding, Severity
from sidelane.cli.output.time_format import timestamp
from sidelane.model.printable import printable_line

STYLES = {Severity.URGENT: "bold red", Severity.SOON: "bold yellow", Severity.INFO: "bold"}


def attention_table(findings: Sequence[Finding], now: float) -> RenderableType:
    """Return the findings in their order, with numbers by which causes are named."""
    if not findings:
        return Text("✓ Nothing needs you.", "green")
    numbers = {finding.key: number for number, finding in enumerate(findings, 1)}
    table = Table.grid(padding=(0, 2, 0, 0))
    for _ in range(2):
        table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for finding in findings:
        style = STYLES[finding.severity] if finding.muted_until is None else "dim"
        mark = Text(MARKS[finding.severity], style)
        table.add_row(mark, Text(str(numbers[finding.key]), "dim"), _text(finding, numbers, style, now))
    return table


def _text(finding: Finding, numbers: dict[str, int], style: str, now: float) -> Text:
    since = "" if finding.since is None else f"  since {_clock(finding.since, now)}"
    cause = numbers.get(finding.cause or "")
    more = f" Cause: {cause}." if cause else ""
    lines = [
        Text.assemble((printable_line(finding.sentence), style), (since, "dim")),
        Text(printable_line(finding.evidence) + more),
        Text.assemble(
            ("→ ", "dim"), printable_line(finding.action.text), (f": {printable_line(finding.action.command)}", "cyan")
        ),
    ]
    if finding.muted_until is not None:
        lines.append(Text(f"muted until {_clock(finding.muted_until, now)}: {printable_line(finding.key)}", "dim"))
    else:
        lines.append(Text(f"key {printable_line(finding.key)}", "dim"))
    return Text("\n").join(lines)


def _clock(at: float, now: float) -> str:
    """Format a time by its minute, with the day if it is not today."""
    text, today = timestamp(at)[:16], timestamp(now)[:10]
    return text.removeprefix(f"{today} ")
