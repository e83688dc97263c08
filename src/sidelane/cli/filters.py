"""Which jobs a command is about: the options that say it, and how their values are read."""

import time
from collections.abc import Sequence
from typing import Annotated

import typer

from sidelane.cli.output.time_format import time_at


def _time(text: str) -> float:
    try:
        return time_at(text, time.time())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


OfTask = Annotated[str | None, typer.Option("--task", metavar="NAME", help="Only of this task.", show_default=False)]
OfQueue = Annotated[str | None, typer.Option("--queue", metavar="NAME", help="Only of this queue.", show_default=False)]
OfUser = Annotated[str | None, typer.Option("--user", metavar="NAME", help="Only of this user.", show_default=False)]
Labelled = Annotated[
    list[str] | None,
    typer.Option("--label", metavar="NAME=VALUE", help="Only with this label; may be repeated.", show_default=False),
]
Since = Annotated[
    float | None,
    typer.Option(
        "--since",
        metavar="TIME",
        parser=_time,
        help="Only what ended since: 30min, 2h or 3d ago, or a time such as 2026-05-01T09:30.",
        show_default=False,
    ),
]
Until = Annotated[
    float | None,
    typer.Option(
        "--until",
        metavar="TIME",
        parser=_time,
        help="Only what ended before this time or so long ago.",
        show_default=False,
    ),
]
Failing = Annotated[
    str | None,
    typer.Option(
        "--error", metavar="TEXT", help="Only with this in the problem or the last error.", show_default=False
    ),
]
Most = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="How many, at most.")]


def labels_of(texts: Sequence[str] | None) -> dict[str, str]:
    """Read NAME=VALUE, each. Raises `typer.BadParameter`."""
    found = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{text!r}: write NAME=VALUE.", param_hint="--label")
        found[name] = value
    return found
