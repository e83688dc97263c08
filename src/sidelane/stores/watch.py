"""One watch of a store's topics, as every store hands it out."""

import asyncio


class Watch:
    """The hints of one watch."""

    def __init__(self) -> None:
        self._hinted = asyncio.Event()

    def hint(self) -> None:
        self._hinted.set()

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for a hint since the last call; false when `timeout` seconds passed without one."""
        if not self._hinted.is_set():
            try:
                async with asyncio.timeout(timeout):
                    await self._hinted.wait()
            except TimeoutError:
                return False
        self._hinted.clear()
        return True
