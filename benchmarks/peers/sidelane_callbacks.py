"""Sidelane's worker in the callbacks benchmark: a no-op task whose jobs have callbacks."""

from sidelane import Sidelane

lane = Sidelane(settings={"allow_private_callbacks": True})


@lane.task
async def noop() -> None:
    """Do nothing."""
