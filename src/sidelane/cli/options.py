"""Options that several commands take, and how their values are read."""

from collections.abc import Mapping
from typing import Annotated

import typer

from sidelane.configuration import load_settings

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

Queues = Mapping[str, int | None]
"""Slots by queue; None where the lane says how many."""

StoreUrl = Annotated[
    str | None,
    typer.Option(
        "--store",
        metavar="URL",
        help="The store to look into. Else SIDELANE_STORE or the project's own.",
        show_default=False,
    ),
]
LaneName = Annotated[
    str | None,
    typer.Option("--lane", metavar="MODULE:ATTR", help="Look into the store of this lane.", show_default=False),
]
WorkersLane = Annotated[
    str | None,
    typer.Argument(
        metavar="MODULE:ATTR",
        help="The lane, for example shop.lane:lane. Else SIDELANE_LANE.",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.", show_default=False)]

QueueSlots = Annotated[
    str | None,
    typer.Option(
        "--queues",
        metavar="NAME[=SLOTS],...",
        help="Take jobs of these queues only; with a number, at most so many at once: chat=200,gpu=1. Else all of the lane. "
        "Where there is not room for all, each gets a share by the weight it is declared with.",
        show_default=False,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Not by weight: serve each queue only while those before it, in the order of --queues, have nothing to start.",
        show_default=False,
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=10_000,
        metavar="N",
        help="Jobs to run at once. Else what --queues adds up to, or the setting.",
        show_default=False,
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        help=f"What to log, from {', '.join(LEVELS)} on. Else the setting.",
        show_default=False,
    ),
]
Parent = Annotated[int | None, typer.Option("--parent", hidden=True)]
"""The process that started this one, and that it does not outlive."""


def level_of(text: str | None) -> str:
    """Read a log level, or take the setting. Raises `typer.BadParameter`."""
    level = (text or load_settings().settings.log_level).upper()
    if level not in LEVELS:
        raise typer.BadParameter(f"{text!r} is none of {', '.join(LEVELS)}.", param_hint="--log-level")
    return level


def slots_by_queue(text: str | None) -> Queues | None:
    """Read `chat=200,gpu=1,feedback`. Raises `typer.BadParameter`."""
    if text is None:
        return None
    found: dict[str, int | None] = {}
    for part in text.split(","):
        name, equals, slots = (piece.strip() for piece in part.partition("="))
        if not name or name in found or (equals and not (slots.isascii() and slots.isdigit() and int(slots) > 0)):
            raise typer.BadParameter(
                f"{part.strip()!r} in {text!r}: write each queue once, as NAME or NAME=SLOTS, as in chat=200,gpu=1.",
                param_hint="--queues",
            )
        found[name] = int(slots) if equals else None
    return found


def passed_on(level: str, queues: str | None, concurrency: int | None, *, strict: bool = False) -> list[str]:
    """Write options again, for the command line of a worker process."""
    options = ["--log-level", level]
    options += ["--queues", queues] if queues else []
    options += ["--concurrency", str(concurrency)] if concurrency else []
    options += ["--strict"] if strict else []
    return options
