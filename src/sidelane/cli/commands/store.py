"""`sidelane store`: show the size of the store, return its free space, and back it up."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.store import Backup, StoreState, make_backup, store_state
from sidelane.cli.changes import keep_line
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, Yes, expand_options
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.cli.output.results import confirm
from sidelane.cli.output.tables import facts_grid
from sidelane.cli.output.time_format import duration
from sidelane.client.client import Client
from sidelane.model.errors import NotSupported
from sidelane.model.sizes import size_text
from sidelane.model.store_info import StoreInfo
from sidelane.stores.factory import redact_url

QUESTION = (
    "The vacuum rewrites the whole store. Until it ends, no process can submit, start or finish a job; workers keep their running "
    "jobs, and submits are answered with 503 after 5 s. It needs up to {needed} of free disk space. Continue?"
)

commands = typer.Typer(no_args_is_help=True, help="Show the size of the store, vacuum it, and back it up.")


@commands.command()
@expand_options
def show(*, common: Common) -> None:
    """Show the store: its size, its jobs, and how much a job takes.

    A finished job takes space until its retention has passed. The space of removed jobs is used again.
    """
    settings = common.settings()
    found = with_client(settings, lambda client: store_state(client.store))
    url = redact_url(settings.store)
    if common.as_json:
        print_json(found.document(url))
        return
    write(output(), Text.assemble((url, "bold"), "  ", found.description), facts_grid(_facts(found)))
    for problem in found.durability_warnings:
        stderr().print(warning(f"it may lose jobs: {problem}"))


@commands.command()
@expand_options
def vacuum(*, yes: Yes = False, common: Common) -> None:
    """Return the free space of an SQLite store to the disk. No process can write meanwhile.

    This is worth its time only if the store has been much larger than it will be: new jobs use the free space again. Redis
    and Valkey need no vacuum.
    """
    settings = common.settings()
    before = with_client(settings, lambda client: client.store.info())
    used = before.used or 0
    if before.free or not before.files:
        if before.files:
            confirm(QUESTION.format(needed=size_text(2 * used)), yes=yes)
        after = with_client(settings, _vacuum)
    else:
        after = before
    if common.as_json:
        print_json({"before": before.size, "after": None if after is None else after.size})
    elif after is not None and before.size is not None and after.size is not None:
        output().print(f"The store has {size_text(after.size)}; it had {size_text(before.size)}.")


@commands.command()
@expand_options
def backup(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The new file.", show_default=False)],
    *,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.", show_default=False)] = False,
    common: Common,
) -> None:
    """Copy an SQLite store to a new file, while other processes use the store. The copy is checked.

    The copy has everything that was acknowledged before it began. Only its owner may read the file.
    """
    settings = common.settings()

    async def copy(client: Client) -> Backup:
        return await make_backup(client.store, str(file.absolute()), overwrite=force)

    made = with_client(settings, copy)
    if common.as_json:
        print_json(asdict(made))
    else:
        jobs = f"{made.jobs:,} {'job' if made.jobs == 1 else 'jobs'}"
        output().print(
            Text.assemble(
                ("✓ ", "green"), f"{made.file}  {size_text(made.size)}, {jobs}, checked, in {duration(made.seconds)}"
            )
        )


async def _vacuum(client: Client) -> StoreInfo | None:
    """Return the information after the vacuum, or None if this kind of store has none."""
    try:
        await client.store.vacuum()
    except NotSupported as reason:
        stderr().print(str(reason))
        return None
    await keep_line(client.store, "store.vacuum", [ActionResult("store", Status.DONE, "vacuumed")])
    return await client.store.info()


def _facts(state: StoreState) -> list[tuple[str, str]]:
    info = state.info
    free = f", {size_text(info.free)} of it free" if info.free else ""
    most = f", at most {size_text(info.max_size)}" if info.max_size else ""
    per_job = info.bytes_per_job
    return [
        ("size", "unknown" if info.size is None else f"{size_text(info.size)}{free}{most}"),
        ("jobs", f"{info.jobs:,}: {state.queued:,} queued, {state.running:,} running, {state.finished:,} finished"),
        ("failed", f"{info.failed:,} of the finished ones"),
        ("growth", f"{size_text(growth)} a day at the present rate" if (growth := state.daily_growth) else ""),
        ("per job", "" if per_job is None else f"{size_text(per_job)} on average"),
        *((name, size_text(value) if isinstance(value, int) else value) for name, value in info.details.items()),
        *((("files", ", ".join(Path(each).name for each in info.files)),) if info.files else ()),
    ]
