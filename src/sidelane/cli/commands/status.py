"""`sidelane status`: the state of the service's groups, their processes, and the queues."""

from typing import Annotated

import typer

from sidelane.cli.output.console import print_json
from sidelane.cli.service_options import StateDir, state_directory
from sidelane.ops.status import read_status


def status(
    *,
    processes: Annotated[bool, typer.Option("--processes", help="Show each process.", show_default=False)] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.", show_default=False)] = False,
    state_dir: StateDir = None,
) -> None:
    """Show the groups of the service, and the queues.

    Processes are shown if a group is not ready. If no supervisor runs here, e.g. under Docker or Kubernetes, the live workers
    in the store are shown, on every host.

    Exit codes: 0 healthy · 1 not healthy · 4 nothing runs here.
    """
    found = read_status(state_directory(state_dir))
    if as_json:
        print_json(found.document)
    else:
        from sidelane.cli.output.service_status import print_status

        print_status(found.document, processes=processes)
    raise typer.Exit(found.exit_code)
