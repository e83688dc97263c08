"""Sidelane's own worker for the benchmark of callbacks: a task that does nothing, whose end is told to others."""

from sidelane import Sidelane

lane = Sidelane(settings={"allow_private_callbacks": True})


@lane.task
async def told() -> None:
    """Do nothing."""
