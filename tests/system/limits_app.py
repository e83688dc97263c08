"""Lane whose tasks have limits of every kind: reject, wait and replace."""

from sidelane import ConcurrencyLimit, Context, Sidelane, Use
from tests.system.shop import WORKER, note, opened

ROOMS = 4

lane = Sidelane()


@lane.task(
    limits=[
        ConcurrencyLimit(1, per="user", name="guests"),
        ConcurrencyLimit(ROOMS, per="task", on_limit="wait", name="rooms"),
    ]
)
async def stay(*, ctx: Context = Use(Context)) -> str:
    """Keep one of the rooms until the house is opened."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    await opened("house")
    return WORKER


@lane.task(limits=[ConcurrencyLimit(1, per=lambda screen: screen, on_limit="replace", name="screens")])
async def show(screen: str, *, ctx: Context = Use(Context)) -> str:
    """Show something on a screen until the house is opened."""
    note("start", job=ctx.job_id, attempt=ctx.attempt)
    await opened("house")
    return screen
