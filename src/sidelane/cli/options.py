"""Options, arguments and command groups that several commands share, and how their values are read."""

import functools
import inspect
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Annotated, Any, get_type_hints

import typer
from typer.core import TyperGroup

from sidelane.admin.arguments import parse_arguments, parse_json_input
from sidelane.admin.dead_letters import DeadLetterFilter
from sidelane.admin.figures import LONGEST
from sidelane.admin.jobs import JobFilter, JobView
from sidelane.cli.locate import settings_of
from sidelane.cli.output.time_format import timestamp
from sidelane.configuration import load_settings
from sidelane.model.durations import DAY, time_of
from sidelane.model.errors import ArgumentsError
from sidelane.model.job import Query
from sidelane.model.settings import Settings
from sidelane.processes.logs import LogOptions

LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

LIST = "list"
"""The command that a group runs if none is named."""

Slots = Mapping[str, int | None]
"""Slots by queue; None if the lane decides."""


class DefaultListGroup(TyperGroup):
    """A command group whose bare name lists: `sidelane queues --json` is `sidelane queues list --json`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if ctx.resilient_parsing and not args:  # a shell completes the command itself
            return super().parse_args(ctx, args)
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [LIST, *args]
        return super().parse_args(ctx, args)


def expand_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take a dataclass of options as one parameter, as in `def show(job_id: JobId, *, common: Common)`.

    Typer makes one option of each parameter of a command. This decorator shows Typer the fields of the dataclass instead of
    the parameter, and builds the dataclass from their values. Every field needs a default.
    """
    hints = get_type_hints(command, include_extras=True)
    parameters: list[inspect.Parameter] = []
    groups: dict[str, type] = {}
    for name, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(hints[name]):
            groups[name] = hints[name]
            parameters += _option_parameters(hints[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name]))

    @functools.wraps(command)
    def expanded(**values: Any) -> None:
        for name, group in groups.items():
            values[name] = group(**{field.name: values.pop(field.name) for field in fields(group)})
        command(**values)

    expanded.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    expanded.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    return expanded


def _option_parameters(group: type) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    kind = inspect.Parameter.KEYWORD_ONLY
    return [
        inspect.Parameter(each.name, kind, default=each.default, annotation=hints[each.name]) for each in fields(group)
    ]


WorkersLane = Annotated[
    str | None,
    typer.Argument(
        metavar="MODULE:ATTR",
        help="The lane, e.g. shop.lane:lane. Default: SIDELANE_LANE.",
        show_default=False,
    ),
]
LaneName = Annotated[
    str | None,
    typer.Option("--lane", metavar="MODULE:ATTR", help="Use the store of this lane.", show_default=False),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.", show_default=False)]
MaxItems = Annotated[int, typer.Option("--limit", min=1, metavar="N", help="Maximum number of entries.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.", show_default=False)]


@dataclass(frozen=True, kw_only=True)
class Common:
    """Options of every command that reads a store."""

    as_json: AsJson = False
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            metavar="URL",
            help="The store to use. Default: SIDELANE_STORE, or the project's store.",
            show_default=False,
        ),
    ] = None
    lane: LaneName = None

    def settings(self) -> Settings:
        """Return the settings to open the store with. Raises `ConfigurationError`."""
        return settings_of(self.store, self.lane)


def _time(text: str) -> float:
    try:
        return time_of(text, time.time())
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _age(text: str | float) -> float:
    """Parse the begin of a period of history. Return how many seconds ago it is. Raises `typer.BadParameter`."""
    if isinstance(text, float):
        return text  # the default
    age = time.time() - _time(text)
    if age <= 0:
        raise typer.BadParameter(f"{text!r} is in the future: history tells what has happened.")
    if age > LONGEST:
        raise typer.BadParameter(f"{text!r} is too long ago: history is kept for {LONGEST // DAY} days.")
    return age


HistorySince = Annotated[
    float | None,
    typer.Option(
        "--since",
        metavar="TIME",
        parser=_age,
        help="Show what has happened since: 30min, 24h or 7d ago, or a time such as 2026-05-01T09:30.",
        show_default=False,
    ),
]
"""A period of history, as the number of seconds since its begin."""

VIEWS = {view.replace(" ", "-"): view for view in JobView}
"""States and views of jobs, by the words for the command line."""


def _view(text: str) -> JobView:
    view = VIEWS.get(text.lower().replace(" ", "-"))
    if view is None:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(VIEWS)}.", param_hint="--state")
    return view


@dataclass(frozen=True, kw_only=True)
class FilterOptions:
    """Options that select jobs or dead letters."""

    task: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this task.", show_default=False)] = None
    queue: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this queue.", show_default=False)] = None
    user: Annotated[str | None, typer.Option(metavar="NAME", help="Only of this user.", show_default=False)] = None
    label: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="Only with this label. May be repeated.", show_default=False),
    ] = None

    def chosen(self) -> str:
        """Return the options that are chosen, for a confirmation, e.g. "task answer; user ann", or "" without any."""
        chosen = [(field.name, getattr(self, field.name)) for field in fields(self)]
        return "; ".join(f"{name} {_option_text(value)}" for name, value in chosen if value)


@dataclass(frozen=True, kw_only=True)
class JobFilterOptions(FilterOptions):
    """Options that select jobs."""

    state: Annotated[
        list[str] | None,
        typer.Option(
            metavar="STATE",
            help=f"Only in this state, as the list shows it: {', '.join(VIEWS)}. queued and running include those that say more. "
            "May be repeated.",
            autocompletion=lambda: list(VIEWS),
            show_default=False,
        ),
    ] = None
    key: Annotated[str | None, typer.Option(metavar="KEY", help="Only with this key.", show_default=False)] = None
    parent: Annotated[
        str | None, typer.Option(metavar="ID", help="Only jobs that this job submitted.", show_default=False)
    ] = None
    batch: Annotated[str | None, typer.Option(metavar="ID", help="Only of this batch.", show_default=False)] = None
    release: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only if the newest attempt was in this release.", show_default=False),
    ] = None
    since: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=_time,
            help="Only submitted since: 30min, 2h or 3d ago, or a time such as 2026-05-01T09:30.",
            show_default=False,
        ),
    ] = None
    until: Annotated[
        float | None,
        typer.Option(
            metavar="TIME", parser=_time, help="Only submitted before, written as for --since.", show_default=False
        ),
    ] = None
    text: Annotated[
        str | None,
        typer.Option(
            metavar="TEXT",
            help="Only with this text in the id, task, user, key, labels, arguments, problem or last error.",
            show_default=False,
        ),
    ] = None

    def selected(self, *, internal: bool = False) -> JobFilter:
        """Return the filter, which with `internal` selects internal jobs too. Raises `typer.BadParameter`."""
        query = Query(
            task=self.task, queue=self.queue, user=self.user, key=self.key, parent=self.parent, batch=self.batch,
            labels=labels_of(self.label), release=self.release, text=self.text,
        )  # fmt: skip
        selected = JobFilter.of(query, map(_view, self.state or ()), internal=internal)
        return replace(selected, since=self.since, until=self.until)


def _option_text(value: str | float | list[str]) -> str:
    if isinstance(value, float):
        return timestamp(value)
    return ", ".join(value) if isinstance(value, list) else value


@dataclass(frozen=True, kw_only=True)
class DeadLetterOptions(FilterOptions):
    """Options that select dead letters."""

    since: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=_time,
            help="Only jobs that failed since: 30min, 2h or 3d ago, or a time such as 2026-05-01T09:30.",
            show_default=False,
        ),
    ] = None
    until: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=_time,
            help="Only jobs that failed before, written as for --since.",
            show_default=False,
        ),
    ] = None
    error: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Only with this text in the problem or last error.", show_default=False),
    ] = None
    release: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Only jobs that this release ran last.", show_default=False),
    ] = None
    cause: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY",
            help="Only of this cause: one error, task and release, as --group names it. May be repeated.",
            show_default=False,
        ),
    ] = None

    def selected(self) -> DeadLetterFilter:
        """Return the filter. Raises `typer.BadParameter`."""
        return DeadLetterFilter(
            task=self.task, queue=self.queue, user=self.user, labels=labels_of(self.label), since=self.since,
            until=self.until, error=self.error, release=self.release, causes=frozenset(self.cause or ()),
        )  # fmt: skip


def labels_of(texts: Sequence[str] | None) -> dict[str, str]:
    """Parse values of the form NAME=VALUE. Raises `typer.BadParameter`."""
    labels = {}
    for text in texts or ():
        name, equals, value = text.partition("=")
        if not name or not equals:
            raise typer.BadParameter(f"{text!r}: write NAME=VALUE.", param_hint="--label")
        labels[name] = value
    return labels


QueueSlots = Annotated[
    str | None,
    typer.Option(
        "--queues",
        metavar="NAME[=SLOTS],...",
        help="Take jobs of these queues only, each with at most SLOTS jobs at once: chat=200,gpu=1. Default: all queues of "
        "the lane. Queues share the free slots by their declared weights.",
        show_default=False,
    ),
]
Strict = Annotated[
    bool,
    typer.Option(
        "--strict",
        help="Ignore weights: take jobs of a queue only if the queues before it in --queues have none ready.",
        show_default=False,
    ),
]
Concurrency = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=10_000,
        metavar="N",
        help="Maximum number of running jobs. Default: the setting, or the sum of --queues if given.",
        show_default=False,
    ),
]
LogLevel = Annotated[
    str | None,
    typer.Option(
        "--log-level",
        metavar="LEVEL",
        help=f"Minimum level to log: {', '.join(LEVELS)}. Default: the setting.",
        show_default=False,
    ),
]
Parent = Annotated[int | None, typer.Option("--parent", hidden=True)]
"""Process id of the process that started this one. This process stops when that one ends."""


def level_of(text: str | None) -> str:
    """Return a log level in upper case; by default that of the settings. Raises `typer.BadParameter`."""
    level = (text or load_settings().settings.log_level).upper()
    if level not in LEVELS:
        raise typer.BadParameter(f"{text!r} is not one of {', '.join(LEVELS)}.", param_hint="--log-level")
    return level


def log_options(name: str, level: str) -> LogOptions:
    """Return how a process logs under this name, from this level on, in the format of the settings."""
    settings = load_settings().settings
    return LogOptions(name=name, level=level, format=settings.log_format, release=settings.release)


def slots_by_queue(text: str | None) -> Slots | None:
    """Parse `chat=200,gpu=1,feedback`. Raises `typer.BadParameter`."""
    if text is None:
        return None
    found: dict[str, int | None] = {}
    for part in text.split(","):
        name, equals, slots = (each.strip() for each in part.partition("="))
        if not name or name in found or (equals and not (slots.isascii() and slots.isdigit() and int(slots) > 0)):
            raise typer.BadParameter(
                f"{part.strip()!r} in {text!r}: write each queue once, as NAME or NAME=SLOTS, e.g. chat=200,gpu=1.",
                param_hint="--queues",
            )
        found[name] = int(slots) if equals else None
    return found


def worker_arguments(level: str, queues: str | None, concurrency: int | None, *, strict: bool = False) -> list[str]:
    """Return the command line options that pass these values on to a worker process."""
    options = ["--log-level", level]
    options += ["--queues", queues] if queues else []
    options += ["--concurrency", str(concurrency)] if concurrency else []
    options += ["--strict"] if strict else []
    return options


INPUT = "--input"

Replacement = Annotated[
    str | None,
    typer.Option(
        INPUT,
        metavar="JSON|@FILE",
        help="New arguments for a single job: a JSON object by parameter name. With --lane they are checked.",
        show_default=False,
    ),
]


def input_of(text: str) -> str:
    """Parse a JSON object, or `@file` that contains one, and return its JSON text. Raises `typer.BadParameter`."""
    source = _source_of(text, INPUT)
    try:
        return parse_arguments(source)
    except ArgumentsError as error:
        raise typer.BadParameter(str(error), param_hint=INPUT) from error


def json_of(text: str, option: str) -> Any:
    """Parse JSON, or `@file` that contains some, which is the value of an option. Raises `typer.BadParameter`."""
    source = _source_of(text, option)
    try:
        return parse_json_input(source)
    except ArgumentsError as error:
        raise typer.BadParameter(str(error), param_hint=option) from error


def _source_of(text: str, option: str) -> str:
    if not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"{text[1:]} cannot be read: {error}.", param_hint=option) from error
