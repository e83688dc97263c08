"""`sidelane attention`: what needs a person, and which findings are muted."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.live import Live

from sidelane.admin.actions import ActionResult
from sidelane.admin.findings.actions import mute_finding, unmute_finding
from sidelane.admin.findings.evaluation import Attention, findings
from sidelane.admin.findings.finding import Finding
from sidelane.cli.changes import change
from sidelane.cli.locate import open_client, with_client
from sidelane.cli.options import Common, DefaultListGroup, expand_options
from sidelane.cli.output.attention import attention_table
from sidelane.cli.output.console import interactive, output, print_json, print_json_line, write
from sidelane.cli.output.results import print_results
from sidelane.client.client import Client
from sidelane.model.durations import DAY, duration_of
from sidelane.model.settings import Settings
from sidelane.processes.exit_code import Exit

WATCH_INTERVAL = 2.0
"""Seconds between two evaluations of `--watch`."""

MAX_MUTE = 90 * DAY
"""Seconds for which a finding may be muted."""

commands = typer.Typer(cls=DefaultListGroup, help="List what needs a person. Without a command: list it.")

Key = Annotated[str, typer.Argument(metavar="KEY", help="Key of a finding, as the list shows it.", show_default=False)]


def _duration(text: str) -> float:
    try:
        seconds = duration_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not 0 < seconds <= MAX_MUTE:
        raise typer.BadParameter(f"{text!r}: a finding is muted for at most {MAX_MUTE // DAY} days.")
    return seconds


@commands.command("list")
@expand_options
def list_(
    *,
    watch: Annotated[
        bool, typer.Option("--watch", help="Keep showing them until Ctrl-C; with --json, a line for each change.")
    ] = False,
    common: Common,
) -> None:
    """List what needs a person, worst first: what it is, in figures, since when, its cause, and what to do.

    `!!` is urgent, `!` is soon, `.` is good to know. Muted findings are last.

    Exit code 0: nothing, apart from muted findings; 1: something.
    """
    settings = common.settings()
    if watch:
        asyncio.run(_watch(settings, as_json=common.as_json))
        return
    found = with_client(settings, lambda client: findings(client.store))
    if common.as_json:
        print_json([each.document() for each in found])
    else:
        write(output(), attention_table(found, time.time()))
    if any(each.muted_until is None for each in found):
        raise typer.Exit(Exit.FAILED)


@commands.command()
@expand_options
def mute(
    key: Key,
    *,
    seconds: Annotated[
        float,
        typer.Option(
            "--for",
            metavar="DURATION",
            parser=_duration,
            help="For how long: 30min, 2h or 3d. Default: 1h.",
            show_default=False,
        ),
    ] = "1h",  # type: ignore[assignment]
    common: Common,
) -> None:
    """Send no alerts of a finding for a while, and list it last."""
    results = change(common.settings(), "finding.mute", lambda client: _mute(client, key, seconds))
    print_results(results, as_json=common.as_json, key="key")


@commands.command()
@expand_options
def unmute(key: Key, *, common: Common) -> None:
    """Let a muted finding count again."""
    results = change(common.settings(), "finding.unmute", lambda client: _unmute(client, key))
    print_results(results, as_json=common.as_json, key="key")


async def _mute(client: Client, key: str, seconds: float) -> list[ActionResult]:
    return [await mute_finding(client.store, key, seconds, known=await findings(client.store))]


async def _unmute(client: Client, key: str) -> list[ActionResult]:
    return [await unmute_finding(client.store, key)]


async def _watch(settings: Settings, *, as_json: bool) -> None:
    async with open_client(settings) as client:
        attention = Attention(client.store)
        if not as_json and interactive(output()):
            with Live(console=output(), auto_refresh=False) as live:
                while True:
                    live.update(attention_table(await attention.findings(), time.time()), refresh=True)
                    await asyncio.sleep(WATCH_INTERVAL)
        before: Sequence[str] | None = None
        while True:
            found = await attention.findings()
            if (keys := [each.key for each in found]) != before:
                _print_change(found, as_json=as_json)
                before = keys
            await asyncio.sleep(WATCH_INTERVAL)


def _print_change(found: Sequence[Finding], *, as_json: bool) -> None:
    if as_json:
        print_json_line([each.document() for each in found])
    else:
        write(output(), attention_table(found, time.time()))
