"""Lane before its tasks were renamed and changed."""

from sidelane import Context, Sidelane, Use
from tests.system.shop import note

lane = Sidelane()


@lane.task
async def price(item: int, *, ctx: Context = Use(Context)) -> str:
    """Go by its old name."""
    note("ran", job=ctx.job_id, attempt=ctx.attempt)
    return f"old {item}"


@lane.task
async def weigh(grams: int) -> str:
    """Take grams, as version 1 did."""
    return f"version 1: {grams} g"
