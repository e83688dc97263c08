"""Stop signals of a server: what waits learns of them, also if it begins to wait afterwards."""

import asyncio
import os
import signal
from collections.abc import Iterator

import pytest

from sidelane.web.shutdown import SIGNALS, ServerShutdown

received: list[int] = []


@pytest.fixture(autouse=True)
def server_handlers() -> Iterator[None]:
    """Handlers of a server, which only note the signal."""
    before = {number: signal.getsignal(number) for number in SIGNALS}
    set_server_handlers()
    received.clear()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def set_server_handlers() -> None:
    for number in SIGNALS:
        signal.signal(number, lambda number, frame: received.append(number))


async def test_a_signal_ends_what_waits_and_reaches_the_server() -> None:
    with ServerShutdown().watch() as stopping:
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(stopping, 5)
    assert received == [signal.SIGTERM]


async def test_a_signal_between_submit_and_wait_is_not_missed() -> None:
    shutdown = ServerShutdown()
    shutdown.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    with shutdown.watch() as stopping:
        await asyncio.wait_for(stopping, 5)


async def test_the_next_server_of_a_process_is_not_taken_for_the_one_that_stopped() -> None:
    shutdown = ServerShutdown()
    shutdown.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    set_server_handlers()
    with shutdown.watch() as stopping:
        await asyncio.sleep(0)
        assert not stopping.done()


async def test_a_server_that_has_stopped_does_not_count() -> None:
    shutdown = ServerShutdown()
    shutdown.listen()
    os.kill(os.getpid(), signal.SIGTERM)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    with shutdown.watch() as stopping:
        await asyncio.sleep(0)
        assert not stopping.done()
