"""Autoscaled groups and the changes of their numbers of processes, in tables that fit 80 columns."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.text import Text

from sidelane.admin.scaling import Scaling
from sidelane.cli.output.console import output, stderr, write
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import relative_time

GROUPS = Columns(
    headers=("AUTOSCALED", "NOW", "WANTED", "BOUNDS", "REASON"),
    shrinkable=("AUTOSCALED",),
    wrapping=("REASON",),
    numbers=("WANTED",),
)
CHANGES = Columns(
    headers=("WHEN", "GROUP", "PROCESSES", "HOST", "REASON"),
    droppable=("HOST",),
    shrinkable=("GROUP", "HOST"),
    wrapping=("REASON",),
)


def print_scaling(groups: Sequence[Mapping[str, Any]], changes: Sequence[Scaling]) -> None:
    """Print the groups, as `sidelane status` has them, and changes."""
    console = output()
    if groups:
        print_autoscaled(groups)
    else:
        stderr().print("No group here is autoscaled. Start one with `sidelane up --autoscale NAME=1..8`.", style="dim")
    if changes:
        console.print()
        now = time.time()
        write(console, fit_table(console, CHANGES, [_change_row(each, now) for each in changes]))


def print_autoscaled(groups: Sequence[Mapping[str, Any]]) -> None:
    """Print the last decision about each group."""
    console = output()
    write(console, fit_table(console, GROUPS, [_group_row(each) for each in groups]))


def _group_row(group: Mapping[str, Any]) -> list[Text]:
    report = group["autoscale"]
    wanted = report["wanted"]
    return [
        Text(group["name"], "bold"),
        Text(f"{group['target']} (pinned)", "yellow") if group["pinned"] else Text(str(group["target"])),
        Text("" if wanted is None else str(wanted)),
        Text(f"{report['least']}..{report['most']}"),
        Text(report["reason"]),
    ]


def _change_row(change: Scaling, now: float) -> list[Text]:
    return [
        Text(relative_time(change.at, now), "dim"),
        Text(change.group, "bold"),
        Text(f"{change.before} → {change.after}"),
        Text(change.host, "dim"),
        Text(change.reason),
    ]
