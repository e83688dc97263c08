"""Changes by commands: each leaves an audit line. A bulk action asks before it begins, and a pause takes a reason and an end."""

import asyncio
import getpass
import socket
from collections import Counter
from collections.abc import AsyncIterable, Awaitable, Callable, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.audit import AuditLine, record
from sidelane.admin.bulk import BulkState, begin, capture, read_action
from sidelane.admin.bulk import stop as stop_action
from sidelane.admin.job_ids import full_ids
from sidelane.admin.pauses import MAX_PAUSE, PauseRequest
from sidelane.cli.locate import open_client, with_client
from sidelane.cli.output.console import interactive, output, print_json, stderr, warning
from sidelane.cli.output.results import CHECK, CROSS, confirm
from sidelane.client.bulk_actions import BulkAction, BulkKind, run_action
from sidelane.client.client import Client
from sidelane.model.durations import DAY, duration_of
from sidelane.model.errors import StoreError
from sidelane.model.job import JobRecord
from sidelane.model.printable import printable_line
from sidelane.model.settings import Settings
from sidelane.processes.exit_code import Exit
from sidelane.stores.contract import Store
from sidelane.stores.factory import redact_url

MAX_NOTES = 20
"""Jobs that a bulk action left alone and that are printed one by one."""

Pages = Callable[[Store], AsyncIterable[Sequence[JobRecord]]]

Reason = Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why, for the audit.", show_default=False)]


def _pause_duration(text: str) -> float:
    try:
        seconds = duration_of(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error
    if not 0 < seconds <= MAX_PAUSE:
        raise typer.BadParameter(f"{text!r}: a pause lasts at most {MAX_PAUSE / DAY:.0f} days, or until you resume.")
    return seconds


@dataclass(frozen=True, kw_only=True)
class PauseOptions:
    """Options of commands that pause something."""

    reason: Annotated[
        str, typer.Option("--reason", metavar="TEXT", help="Why, for others who see the pause.", show_default=False)
    ] = ""
    seconds: Annotated[
        float | None,
        typer.Option(
            "--for",
            metavar="DURATION",
            parser=_pause_duration,
            help="Resume after 30min, 2h or 3d. Default: only you resume.",
            show_default=False,
        ),
    ] = None

    def request(self) -> PauseRequest:
        """Return the pause that the options describe."""
        return PauseRequest(by=operator_name(), reason=self.reason, seconds=self.seconds)


def operator_name() -> str:
    """Return who runs the command, as audit lines name them: user@host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a user id without a name
        user = "unknown"
    return f"{user}@{socket.gethostname()}"


def change(
    settings: Settings, action: str, act: Callable[[Client], Awaitable[Sequence[ActionResult]]], *, reason: str = ""
) -> list[ActionResult]:
    """Call `with_client` with an action that changes something, e.g. "queue.pause", and keep an audit line."""

    async def run(client: Client) -> list[ActionResult]:
        results = list(await act(client))
        await keep_line(client.store, action, results, reason=reason)
        return results

    return with_client(settings, run)


def change_jobs(
    settings: Settings,
    ids: Sequence[str],
    action: str,
    act: Callable[[Client, list[str]], Awaitable[Sequence[ActionResult]]],
    *,
    reason: str = "",
) -> list[ActionResult]:
    """Call `change` with an action on jobs. Each of `ids` may be shortened to a unique prefix."""

    async def run(client: Client) -> Sequence[ActionResult]:
        return await act(client, await full_ids(client.store, ids))

    return change(settings, action, run, reason=reason)


async def keep_line(store: Store, action: str, results: Sequence[ActionResult], *, reason: str = "") -> None:
    """Keep an audit line of an action with its results. What was done stays done if that fails."""
    failed = all(each.status is not Status.DONE for each in results)
    line = AuditLine(
        by=operator_name(), action=action, target=", ".join(each.name for each in results), reason=reason,
        result="; ".join(str(each.message) for each in results), failed=failed,
    )  # fmt: skip
    await _keep(store, line)


async def _keep(store: Store, line: AuditLine) -> None:
    try:
        await record(store, line)
    except StoreError as error:
        stderr().print(warning(f"the audit line could not be kept: {error}"))


def bulk_action(
    settings: Settings, kind: BulkKind, pages: Pages, *, noun: str, chosen: str, reason: str, yes: bool, as_json: bool
) -> None:
    """Do an action to the jobs of `pages` after the user has seen their number. Ends the command with its exit code.

    `noun` is what they are, e.g. "dead letter", and `chosen` the filter in words.
    """
    by = operator_name()
    text = chosen or f"all {noun}s"
    action = with_client(
        settings, lambda client: capture(client.store, kind, pages(client.store), filter_text=text, by=by)
    )
    items = f"{action.count:,} {noun}{'' if action.count == 1 else 's'}"
    if not action.count and not as_json:
        stderr().print(f"No matching {noun} in {redact_url(settings.store)}.", style="dim")
        return
    if action.count:
        verb = "Permanently delete" if kind is BulkKind.PURGE else kind.capitalize()
        confirm(f"{verb} {items}{f' ({chosen})' if chosen else ''}?", yes=yes)
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(settings, action, by=by, reason=reason))
    found = with_client(settings, lambda client: _finish(client.store, action, noun))
    if as_json:
        print_json(found.document())
    else:
        _print(found, noun)
    raise typer.Exit(Exit.FAILED if found.action.failed or found.state != "done" else Exit.DONE)


async def _run(settings: Settings, action: BulkAction, *, by: str, reason: str) -> None:
    console = stderr()
    async with open_client(settings) as client:
        await begin(client.store, action.id, by=by, reason=reason)
        with console.status("") if interactive(console) else nullcontext() as status:
            async for each in run_action(client.store, action.id):
                if status is not None:
                    status.update(f"{each.handled:,} of {each.count:,}")


async def _finish(store: Store, action: BulkAction, noun: str) -> BulkState:
    await stop_action(store, action.id, by=action.by)  # which changes nothing unless it was interrupted
    found = await read_action(store, action.id)
    done = found.action
    line = AuditLine(
        by=done.by, action=f"bulk.{done.kind}", target=f"{done.count:,} {noun}s: {done.filter}", reason=done.reason,
        result=f"{done.done:,} done, {done.skipped:,} left alone, {done.failed:,} refused", failed=found.state != "done",
    )  # fmt: skip
    await _keep(store, line)
    return found


def _print(found: BulkState, noun: str) -> None:
    action = found.action
    past_tense = "cancelled or asked to stop" if action.kind is BulkKind.CANCEL else action.kind.past_tense
    text = f"{action.done:,} {noun}{'' if action.done == 1 else 's'} {past_tense}"
    counts = Counter({"left alone, because they have changed meanwhile": action.skipped, "refused": action.failed})
    text += "".join(f", {count:,} {word}" for word, count in counts.items() if count)
    output().print(Text.assemble(CHECK, text))
    for note in action.notes[:MAX_NOTES]:
        stderr().print(Text.assemble(CROSS, printable_line(f"{note.job}  not {action.kind.past_tense}: {note.reason}")))
    more = action.skipped + action.failed - MAX_NOTES
    if more > 0:
        stderr().print(Text.assemble(CROSS, f"{more:,} more were not {action.kind.past_tense}"))
    if found.state != "done":
        stderr().print(warning(f"interrupted after {action.handled:,} of {action.count:,}; the others are unchanged"))
