"""`sidelane restart`: replace the processes of groups one after another, without a gap."""

import typer

from sidelane.cli.output.progress import ServiceProgress
from sidelane.cli.service_options import Names, StateDir, state_directory
from sidelane.ops.group_commands import restart as restart_groups
from sidelane.processes.exit_code import Exit


def restart(names: Names = None, *, state_dir: StateDir = None) -> None:
    """Replace the processes of the service, or of some groups, one after another.

    A new process takes over as soon as it is ready, and only then the old one stops, after its running jobs. So new code goes
    live without a gap. If a new process does not become ready, the old ones stay, and the exit code is 1.
    """
    with ServiceProgress() as progress:
        well = restart_groups(state_directory(state_dir), names or (), progress)
    if not well:
        raise typer.Exit(Exit.FAILED)
