"""Users: who floods, and who costs most."""

from typing import Final

from fastapi import Response

from sidelane.admin.users import Amount
from sidelane.model.errors import SidelaneError
from sidelane.model.history import TOP_USERS
from sidelane.web.dashboard.charts import PERIODS, chosen_period
from sidelane.web.dashboard.site import Site, View

MAX_USERS: Final = 100
"""Users that the page lists, those at the top."""


class UnknownAmount(SidelaneError):
    """Users are not compared by that. Choose a column of the table."""

    status = 400


def add_pages(site: Site) -> None:
    """Add the list of users."""
    site.get("/users", _list)


async def _list(view: View) -> Response:
    period = chosen_period(view)
    top = await view.reads.top_users(PERIODS[period])
    chosen = view.query.get("by", top.main_amount)
    if chosen not in set(Amount):
        raise UnknownAmount
    amount = Amount(chosen)
    listed = [(user, top.share(amount, user)) for user in top.by(amount)[:MAX_USERS]]
    return await view.page(
        "users.html", current="users", top=top, users=listed, amount=amount, period=period, periods=PERIODS,
        kept=TOP_USERS,
    )  # fmt: skip
