"""`sidelane users`: which users submit most, use most and cost most."""

from typing import Annotated

import typer
from rich.text import Text

from sidelane.admin.figures import cost_text
from sidelane.admin.users import Amount, TopUsers, read_top_users
from sidelane.cli.locate import with_client
from sidelane.cli.options import Common, HistorySince, MaxItems, expand_options
from sidelane.cli.output.console import output, print_json, stderr, write
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration, timestamp
from sidelane.model.durations import DAY
from sidelane.model.history import TOP_USERS, UserUsage
from sidelane.model.printable import printable_line
from sidelane.sizing.services import percent
from sidelane.stores.factory import redact_url

COLUMNS = Columns(
    headers=("USER", "JOBS", "REFUSED", "RUN TIME", "TOKENS", "COST", "SHARE"),
    droppable=("REFUSED",),
    shrinkable=("USER",),
    numbers=("JOBS", "REFUSED", "RUN TIME", "TOKENS", "COST", "SHARE"),
)


@expand_options
def users(
    *,
    since: HistorySince = None,
    by: Annotated[
        Amount | None,
        typer.Option(
            "--by", help="Compare by. Default: the cost, or the run time if no task reports costs.", show_default=False
        ),
    ] = None,
    limit: MaxItems = 20,
    common: Common,
) -> None:
    """List the users that submit most jobs, use most run time and tokens, and cost most, by default within a day.

    SHARE is which part of all jobs' amount is the user's, by the amount of `--by`. Figures begin with an hour. The store keeps of
    each hour the users at the top.
    """
    settings = common.settings()
    found = with_client(settings, lambda client: read_top_users(client.store, DAY if since is None else since))
    amount = by or found.main_amount
    if common.as_json:
        print_json(found.document(amount, limit))
    elif found.users:
        _print(found, amount, limit)
    else:
        stderr().print(
            f"No job of a user in {redact_url(settings.store)} since {timestamp(found.since)[:16]}.", style="dim"
        )


def _print(found: TopUsers, amount: Amount, limit: int) -> None:
    console = output()
    write(console, Text(f"Since {timestamp(found.since)[:16]}", "dim"))
    for leader in found.leaders:
        write(console, Text(printable_line(str(leader)), "bold"))
    listed = found.by(amount)[:limit]
    write(console, Text(), fit_table(console, COLUMNS, [_row(user, found.share(amount, user)) for user in listed]))
    if len(found.users) > TOP_USERS:
        text = f"Of each past hour the store keeps the {TOP_USERS} users at the top by each amount."
        stderr().print(text, style="dim")


def _row(user: UserUsage, share: float | None) -> list[Text]:
    return [
        Text(user.user, "bold"),
        Text(f"{user.submitted:,}"),
        Text(f"{user.refused:,}", "yellow" if user.refused else "dim"),
        Text(duration(user.run_time)),
        Text(f"{user.tokens:,}", "" if user.tokens else "dim"),
        Text(cost_text(user.cost) if user.cost else ""),
        Text("" if share is None else percent(share), "cyan"),
    ]
