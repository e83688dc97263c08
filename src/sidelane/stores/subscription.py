"""`TopicSubscription`, the subscription that every store's `watch` returns."""

import asyncio


class TopicSubscription:
    """The hints of one watch. Belongs to one event loop."""

    def __init__(self) -> None:
        self._is_hinted = False
        self._waiting: asyncio.Future[bool] | None = None

    def hint(self) -> None:
        self._is_hinted = True
        self._end_wait(True)

    async def wait(self, timeout: float | None = None) -> bool:
        """Wait for a hint since the last call.

        Returns False after `timeout` seconds without one. Only one caller may wait at a time.
        """
        if not self._is_hinted:
            loop = asyncio.get_running_loop()
            self._waiting = loop.create_future()
            # call_later() instead of asyncio.timeout(), which costs more than the rest of a wait for a token
            timer = None if timeout is None else loop.call_later(timeout, self._end_wait, False)
            try:
                await self._waiting
            finally:
                self._waiting = None
                if timer is not None:
                    timer.cancel()
        hinted, self._is_hinted = self._is_hinted, False
        return hinted

    def _end_wait(self, hinted: bool) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(hinted)
