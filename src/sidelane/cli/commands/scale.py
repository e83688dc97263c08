"""`sidelane scale`: change the number of processes of groups."""

from collections.abc import Sequence
from typing import Annotated

import typer

from sidelane.cli.output.progress import ServiceProgress
from sidelane.cli.service_options import StateDir, state_directory
from sidelane.ops.group_commands import scale as scale_groups
from sidelane.processes.exit_code import Exit

MAX_PROCESSES = 256


def scale(
    counts: Annotated[
        list[str],
        typer.Argument(metavar="NAME=N...", help="Groups with their numbers of processes.", show_default=False),
    ],
    *,
    state_dir: StateDir = None,
) -> None:
    """Change how many processes groups have, e.g. `sidelane scale chat=4 api=2`.

    The number stays after a crash or a restart of the supervisor, until `sidelane down`. Change `processes` in the description to
    keep it for good.
    """
    processes = processes_by_name(counts)
    with ServiceProgress() as progress:
        well = scale_groups(state_directory(state_dir), processes, progress)
    if not well:
        raise typer.Exit(Exit.FAILED)


def processes_by_name(texts: Sequence[str]) -> dict[str, int]:
    """Parse values of the form NAME=N. Raises `typer.BadParameter`."""
    found = {}
    for text in texts:
        name, _, count = text.partition("=")
        if not name or not (count.isascii() and count.isdigit() and int(count) <= MAX_PROCESSES):
            raise typer.BadParameter(
                f"{text!r}: write NAME=N with N from 0 to {MAX_PROCESSES}, e.g. chat=4.",
                param_hint="NAME=N",
            )
        found[name] = int(count)
    return found
