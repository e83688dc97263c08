"""Lane after its tasks were renamed and changed."""

from typing import Any

from sidelane import Context, Sidelane, Use
from tests.system.shop import note

lane = Sidelane()


@lane.task(aliases=["price"])
async def quote(item: int, *, ctx: Context = Use(Context)) -> str:
    """Go by a new name, and still answer to the old one."""
    note("ran", job=ctx.job_id, attempt=ctx.attempt)
    return f"new {item}"


def _in_kilograms(arguments: dict[str, Any], version: int) -> dict[str, Any]:
    return {"kilograms": arguments["grams"] / 1000} if version < 2 else arguments


@lane.task(version=2, upgrade=_in_kilograms)
async def weigh(kilograms: float) -> str:
    """Take kilograms, as version 2 does."""
    return f"version 2: {kilograms} kg"
