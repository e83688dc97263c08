"""`sidelane down`: stop the groups of the service after their running jobs, and the supervisor."""

from typing import Annotated

import typer

from sidelane.cli.output.progress import ServiceProgress
from sidelane.cli.service_options import Names, StateDir, state_directory
from sidelane.ops.down import Down
from sidelane.processes.exit_code import Exit


def down(
    names: Names = None,
    *,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="Maximum time to wait for running jobs, which then go back to their queues. Default: that of each group.",
            show_default=False,
        ),
    ] = None,
    state_dir: StateDir = None,
) -> None:
    """Stop the service, or some of its groups, after their running jobs.

    Groups on which others depend stop last. A job that does not end in time goes back to its queue, which costs it no retry. The
    logs stay. A number of processes that was set with `sidelane scale` is forgotten.
    """
    with ServiceProgress() as progress:
        clean = Down(state_directory(state_dir), progress, timeout).run(names or ())
    if not clean:
        raise typer.Exit(Exit.FAILED)
