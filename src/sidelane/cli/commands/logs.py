"""`sidelane logs`: print and follow the logs of the service's groups."""

from collections.abc import Callable
from typing import Annotated

import typer

from sidelane.cli.output.console import stderr
from sidelane.cli.output.log_lines import LogPrinter
from sidelane.cli.service_options import Names, StateDir, state_directory
from sidelane.ops.logs import chosen_logs, follow, tail
from sidelane.processes.exit_code import Exit


def logs(
    names: Names = None,
    *,
    follow_logs: Annotated[
        bool, typer.Option("--follow", "-f", help="Go on with new lines, until Ctrl-C.", show_default=False)
    ] = False,
    lines: Annotated[int, typer.Option("--lines", "-n", min=0, metavar="N", help="Last lines of each log.")] = 100,
    state_dir: StateDir = None,
) -> None:
    """Print the last lines of the logs of all groups, or of some. `supervisord` names the supervisor's own log."""
    state = state_directory(state_dir)
    found = chosen_logs(state, names or ())
    if not found and not follow_logs:
        stderr().print(f"There are no logs in {state.logs}. `sidelane up` writes them.")
        raise typer.Exit(Exit.UNKNOWN)
    show: Callable[[str, str], None] = LogPrinter(found)
    if follow_logs:
        follow(state, names or (), lines, show)
        return
    for name, path in found.items():
        for line in tail(path, lines)[0]:
            show(name, line)
