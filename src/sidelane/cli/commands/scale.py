"""`sidelane scale`: change the number of processes of groups, and show what autoscaling decides."""

from collections.abc import Sequence
from typing import Annotated

import typer

from sidelane.admin.scaling import read_scalings
from sidelane.cli.locate import with_client
from sidelane.cli.options import AsJson
from sidelane.cli.output.console import print_json
from sidelane.cli.output.progress import ServiceProgress
from sidelane.cli.service_options import StateDir, state_directory
from sidelane.configuration import load_settings
from sidelane.ops.group_commands import scale as scale_groups
from sidelane.ops.state import StateDirectory
from sidelane.ops.status import read_status
from sidelane.processes.exit_code import Exit
from sidelane.processes.scale import MAX_PROCESSES

AUTO = "auto"


def scale(
    counts: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="NAME=N...", help="Groups with their numbers of processes, or with auto.", show_default=False
        ),
    ] = None,
    *,
    limit: Annotated[int, typer.Option("--limit", "-n", min=1, max=200, metavar="N", help="Changes to show.")] = 20,
    as_json: AsJson = False,
    state_dir: StateDir = None,
) -> None:
    """Change how many processes groups have, e.g. `sidelane scale chat=4 api=2`, or show what autoscaling decides.

    The number stays after a crash or a restart of the supervisor, until `sidelane down`. It pins an autoscaled group, until
    `sidelane scale chat=auto`. Change `processes` in the description to keep it for good.

    Without an argument, show the autoscaled groups and the last changes of their numbers with the reasons.
    """
    state = state_directory(state_dir)
    if not counts:
        _show(state, limit, as_json=as_json)
        return
    processes = processes_by_name(counts)
    with ServiceProgress() as progress:
        well = scale_groups(state, processes, progress)
    if not well:
        raise typer.Exit(Exit.FAILED)


def _show(state: StateDirectory, limit: int, *, as_json: bool) -> None:
    settings = load_settings(*state.settings_source()).settings
    changes = with_client(settings, lambda client: read_scalings(client.store, limit))
    groups = [each for each in read_status(state).document["groups"] if each["autoscale"]]
    if as_json:
        names = ("name", "ready", "target", "pinned", "autoscale")
        print_json(
            {
                "groups": [{name: each[name] for name in names} for each in groups],
                "changes": [each.document() for each in changes],
            }
        )
        return
    from sidelane.cli.output.scaling import print_scaling

    print_scaling(groups, changes)


def processes_by_name(texts: Sequence[str]) -> dict[str, int | None]:
    """Parse values of the form NAME=N or NAME=auto, which is None. Raises `typer.BadParameter`."""
    found: dict[str, int | None] = {}
    for text in texts:
        name, _, count = text.partition("=")
        number = count.isascii() and count.isdigit() and int(count) <= MAX_PROCESSES
        if not name or not (number or count == AUTO):
            raise typer.BadParameter(
                f"{text!r}: write NAME=N with N from 0 to {MAX_PROCESSES}, or NAME={AUTO}, e.g. chat=4.",
                param_hint="NAME=N",
            )
        found[name] = int(count) if number else None
    return found
