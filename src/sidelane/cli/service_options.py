"""Options that the commands of a running service share: where its state is, and the names of its groups."""

from pathlib import Path
from typing import Annotated

import typer

from sidelane.configuration import load_settings
from sidelane.ops.state import FOLDER, StateDirectory

StateDir = Annotated[
    Path | None,
    typer.Option(
        "--state-dir",
        metavar="DIR",
        help="The folder with sockets, logs and the supervisor's files. Default: .sidelane in the project's folder.",
        show_default=False,
    ),
]
Names = Annotated[
    list[str] | None, typer.Argument(metavar="NAME...", help="Names of groups. Default: all.", show_default=False)
]


def state_directory(path: Path | None) -> StateDirectory:
    """Return the state directory that an option names, or that of the project in the current folder."""
    return StateDirectory((path or load_settings().root / FOLDER).resolve())
