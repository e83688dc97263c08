"""`sidelane up`: start the whole service that `sidelane.toml` or `pyproject.toml` describes."""

from pathlib import Path
from typing import Annotated

import typer

from sidelane.cli.commands.autoscale import bounds_by_name
from sidelane.cli.output.console import output, write
from sidelane.cli.output.log_lines import LogPrinter
from sidelane.cli.output.progress import ServiceProgress
from sidelane.cli.service_options import Names, StateDir, state_directory
from sidelane.ops.autoscaled_groups import service_programs, with_autoscale
from sidelane.ops.description import load_description
from sidelane.ops.foreground import run_foreground
from sidelane.ops.programs import describe_programs
from sidelane.ops.supervisor import LogLimits
from sidelane.ops.up import Up
from sidelane.processes.exit_code import Exit

Autoscale = Annotated[
    list[str] | None,
    typer.Option(
        "--autoscale",
        metavar="NAME=LEAST..MOST",
        help="Let the load decide how many processes a worker group has, e.g. chat=1..8. Repeat for more groups.",
        show_default=False,
    ),
]


def up(
    names: Names = None,
    *,
    print_programs: Annotated[
        bool, typer.Option("--print", help="Print the programs of the service, and start nothing.", show_default=False)
    ] = False,
    foreground: Annotated[
        bool,
        typer.Option(
            "--foreground",
            help="Stay in the foreground, as containers need it: logs go to stdout, SIGTERM stops the service.",
            show_default=False,
        ),
    ] = False,
    timeout: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="SECONDS",
            help="With --foreground: maximum time to wait for running jobs at the stop. Default: that of each group.",
            show_default=False,
        ),
    ] = None,
    log_size: Annotated[int, typer.Option(min=0, metavar="MB", help="Size at which a log is rotated; 0: never.")] = 10,
    log_files: Annotated[int, typer.Option(min=0, metavar="N", help="Number of old files of each log.")] = 5,
    autoscale: Autoscale = None,
    state_dir: StateDir = None,
) -> None:
    """Start the service that is described in the current folder, or some of its groups and what they depend on.

    Groups start in the order of their dependencies, each when those before it are ready. Run it again to start what is missing and
    to apply changes of the description: a group whose command has changed is started anew.
    """
    bounds, state = bounds_by_name(autoscale or []), state_directory(state_dir)
    programs = service_programs(with_autoscale(load_description(Path.cwd()), bounds), state.path)
    if print_programs:
        write(output(), describe_programs(programs))
        return
    limits = LogLimits(megabytes=log_size, backups=log_files)
    with ServiceProgress() as progress:
        service = Up(state, programs, names or (), progress, limits=limits)
        if foreground:
            show = LogPrinter([each.name for each in programs])
            well = run_foreground(service, state, show, progress, timeout)
        else:
            try:
                well = service.run()
            except KeyboardInterrupt:
                progress.warn("interrupted: groups that were started go on. `sidelane down` stops them.")
                raise
    if not well:
        if not foreground:
            progress.fail("Correct the cause and run `sidelane up` again. Groups that are ready go on running.")
        raise typer.Exit(Exit.FAILED)
