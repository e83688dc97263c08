"""`sidelane audit`: who changed what, when and why."""

import time
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.audit import AuditFilter, AuditLine, read_audit
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, MaxItems, expand_options
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.states import one_line
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import relative_time
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("TIME", "BY", "ACTION", "OBJECT", "REASON", "RESULT"),
    droppable=("REASON",),
    shrinkable=("BY", "OBJECT", "REASON", "RESULT"),
)

MAX_CELL = 100
"""Characters of a cell."""


@expand_options
def audit(
    *,
    by: Annotated[
        str, typer.Option(metavar="TEXT", help="Only by operators with this in the name.", show_default=False)
    ] = "",
    action: Annotated[
        str, typer.Option(metavar="NAME", help="Only actions that begin so, e.g. queue.", show_default=False)
    ] = "",
    target: Annotated[
        str, typer.Option(metavar="TEXT", help="Only objects with this in the name.", show_default=False)
    ] = "",
    limit: MaxItems = 50,
    common: Common,
) -> None:
    """List what operators changed, newest first: when, who, which object, why, and with which result."""
    settings, selected = common.settings(), AuditFilter(by=by, action=action, target=target)
    page = with_client(settings, lambda client: read_audit(client.store, selected, limit=limit))
    if common.as_json:
        print_json([line.document() for line in page.lines])
        return
    if not page.lines:
        stderr().print(f"No matching audit line in {redact_url(settings.store)}.", style="dim")
        return
    console, now = output(), time.time()
    write(console, fit_table(console, COLUMNS, [_row(line, now) for line in page.lines]))


def _row(line: AuditLine, now: float) -> list[Text]:
    return [
        Text(relative_time(line.at, now), "dim"),
        Text(one_line(line.by, MAX_CELL)),
        Text(line.action, "bold"),
        Text(one_line(line.target, MAX_CELL)),
        Text(one_line(line.reason, MAX_CELL)),
        Text(one_line(line.result, MAX_CELL), "red" if line.failed else ""),
    ]
