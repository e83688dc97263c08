"""Attendants: what runs in a worker beside its jobs, for as long as it takes any: listening for answers, taking messages in."""

from typing import Protocol


class BackgroundService(Protocol):
    """Something a worker keeps running until it drains. It sees to its own troubles, and says them."""

    @property
    def error(self) -> str | None:
        """What keeps it from its work at the moment, in a sentence; the worker's health tells it."""
        ...

    async def run(self) -> None:
        """Work until cancelled; what is half done by then is done again elsewhere."""
        ...
