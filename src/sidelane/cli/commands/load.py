"""`sidelane load`: send a load to a running service, and measure how quickly it answers."""

import asyncio
import re
import resource
import signal
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from sidelane.cli.options import AsJson, expand_options, json_of
from sidelane.cli.output.console import print_json, print_text, stderr, warning
from sidelane.cli.output.load import LoadScreen, print_load
from sidelane.model.durations import duration_of
from sidelane.model.json_text import dump_json
from sidelane.ops.load.plan import HeavyRoute, LoadPlan
from sidelane.processes.exit_code import Exit

# Modules that send requests are imported in functions, because `sidelane --help` imports this module.

HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
"""The name of a header (RFC 9110, 5.6.2)."""


class Tool(StrEnum):
    """Tools that send larger loads."""

    LOCUST = "locust"
    K6 = "k6"


def _seconds(text: str | float) -> float:
    """Parse a number of seconds or a duration. Raises `typer.BadParameter`."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return duration_of(str(text))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


@dataclass(frozen=True, kw_only=True)
class RouteOptions:
    """Options that say what is requested."""

    post: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PATH",
            help="A route that answers with a job. May be repeated: routes alternate, so one that is named twice gets twice as "
            "many requests.",
            show_default=False,
        ),
    ] = None
    body: Annotated[
        list[str] | None,
        typer.Option(
            metavar="JSON",
            help="The body of these requests, or @file: one for all routes, or one for each --post. {n} becomes the number of the "
            "request, {user} that of the user.",
            show_default=False,
        ),
    ] = None
    light: Annotated[
        str, typer.Option(metavar="PATH", help="A route that answers at once, e.g. /health.", show_default=False)
    ] = ""
    header: Annotated[
        list[str] | None,
        typer.Option(
            "--header",
            "-H",
            metavar="'NAME: VALUE'",
            help="A header of every request. May be repeated; {n} and {user} as in the body.",
            show_default=False,
        ),
    ] = None
    stream: Annotated[
        bool, typer.Option("--stream", help="Follow the event stream to its end.", show_default=False)
    ] = False
    wait: Annotated[
        float | None,
        typer.Option(
            metavar="TIME",
            parser=_seconds,
            help="Send Prefer: wait, for the result in the same answer. Default: take the 202, and request the result until it is "
            "there.",
            show_default=False,
        ),
    ] = None


@dataclass(frozen=True, kw_only=True)
class AmountOptions:
    """Options that say how many requests are sent, and for how long."""

    rate: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="Requests a second, each of another user, which wait for nothing.", show_default=False
        ),
    ] = None
    users: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Users, each of whom sends the next request after the answer.", show_default=False
        ),
    ] = None
    think: Annotated[
        float, typer.Option(metavar="TIME", parser=_seconds, help="Pause of a user after an answer, on average.")
    ] = 0.0
    light_rate: Annotated[float, typer.Option(metavar="N", help="Requests a second of the light route.")] = 10.0
    duration: Annotated[
        float, typer.Option(metavar="TIME", parser=_seconds, help="How long requests begin: 30, 90s, 5min.")
    ] = 30.0
    ramp: Annotated[
        float, typer.Option(metavar="TIME", parser=_seconds, help="Time until the rate, or all users, are reached.")
    ] = 0.0
    idle: Annotated[
        float,
        typer.Option(
            metavar="TIME", parser=_seconds, help="Time before the load with the light route alone, for comparison."
        ),
    ] = 3.0
    timeout: Annotated[
        float, typer.Option(metavar="TIME", parser=_seconds, help="Time after which a request counts as failed.")
    ] = 120.0


@expand_options
def load(
    url: Annotated[str, typer.Argument(metavar="URL", help="The service, e.g. http://127.0.0.1:8000.")],
    *,
    routes: RouteOptions,
    amount: AmountOptions,
    write: Annotated[
        Tool | None,
        typer.Option("--write", help="Print a script for this tool that sends the same load, and send nothing."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Send a load to a running service: requests that become jobs, and beside them a light route that should stay quick.

    Ctrl-C ends the load early and prints what was measured. The exit code is 1 if more than 1 % of the requests failed.
    """
    plan = plan_of(url, routes, amount)
    if write is not None:
        _print_script(plan, write)
        return
    from sidelane.ops.load.document import MAX_ERROR_SHARE, error_share, load_document
    from sidelane.ops.load.figures import LoadFigures
    from sidelane.ops.load.run import run_load

    figures = LoadFigures(plan)
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    with suppress(ValueError):  # macOS has another limit too
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))  # each stream is an open file

    async def run() -> None:
        stop = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGINT, stop.set)
        async with LoadScreen(lambda: load_document(plan, figures)):
            await run_load(plan, figures, stop)

    asyncio.run(run())
    document = load_document(plan, figures)
    if as_json:
        print_json(document)
    else:
        print_load(document)
    if error_share(figures) > MAX_ERROR_SHARE:
        raise typer.Exit(Exit.FAILED)


def plan_of(url: str, routes: RouteOptions, amount: AmountOptions) -> LoadPlan:
    """Return the plan that the options describe. Raises `typer.BadParameter`."""
    heavy = _heavy_routes(routes.post or [], [dump_json(json_of(text, "--body")) for text in routes.body or []])
    headers = dict(_header(text) for text in routes.header or [])
    try:
        return LoadPlan(
            url=url, heavy=heavy, light=routes.light, headers=headers, stream=routes.stream, wait=routes.wait,
            rate=amount.rate, users=amount.users, think=amount.think, light_rate=amount.light_rate,
            duration=amount.duration, ramp=amount.ramp, idle=amount.idle, timeout=amount.timeout,
        )  # fmt: skip
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _heavy_routes(paths: Sequence[str], bodies: Sequence[str]) -> list[HeavyRoute]:
    if len(bodies) not in {0, 1, len(paths)}:
        raise typer.BadParameter(
            f"{len(bodies)} bodies for {len(paths)} routes: write one for all, or one for each --post.",
            param_hint="--body",
        )
    each = [*bodies] if len(bodies) == len(paths) else [*bodies] * len(paths)
    return [HeavyRoute(path=path, body=each[index] if each else None) for index, path in enumerate(paths)]


def _header(text: str) -> tuple[str, str]:
    """Parse `NAME: VALUE`. Raises `typer.BadParameter`."""
    name, colon, value = (part.strip() for part in text.partition(":"))
    if not HEADER_NAME.fullmatch(name) or not colon or not value.isascii() or not value.isprintable():
        raise typer.BadParameter(f"{text!r}: write 'NAME: VALUE', in printable ASCII.", param_hint="--header")
    return name, value


def _print_script(plan: LoadPlan, tool: Tool) -> None:
    from sidelane.ops.load.document import ab_command
    from sidelane.ops.load.scripts import k6_script, locust_script

    print_text(locust_script(plan) if tool is Tool.LOCUST else k6_script(plan))
    if plan.light:
        stderr().print(f"The light route alone: {ab_command(plan)}", style="dim")
    if plan.headers:
        stderr().print(warning("The script contains the headers that you named. Keep it as secret as they are."))
