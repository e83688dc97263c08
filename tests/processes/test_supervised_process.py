"""Supervised processes: restart by policy, replacement, signals, and the description of exits."""

import asyncio
import math
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from sidelane.processes.child import CliProcess
from sidelane.processes.exit_code import describe_exit
from sidelane.processes.supervised_process import SupervisedProcess


class FakeProcess(CliProcess):
    """A process that exits when the test says so, or when it is signalled."""

    def __init__(self) -> None:
        super().__init__("p", [])
        self.starts = 0
        self.signals: list[int] = []
        self.started = asyncio.Event()
        self._exit: asyncio.Future[int] = asyncio.get_running_loop().create_future()

    async def start(self) -> None:
        self.starts += 1
        self._exit = asyncio.get_running_loop().create_future()
        self.started.set()

    async def wait(self) -> int:
        return await asyncio.shield(self._exit)

    def exit(self, status: int) -> None:
        self.started.clear()
        self._exit.set_result(status)

    def signal(self, number: int) -> None:
        if not self._exit.done():
            self.signals.append(number)
            self.exit(128 + number)

    async def stop(self, number: int, timeout: float) -> None:
        self.signal(number)


@asynccontextmanager
async def running(supervised: SupervisedProcess) -> AsyncIterator[None]:
    task = asyncio.create_task(supervised.run())
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_process_is_started_again_as_its_policy_says() -> None:
    process, seen = FakeProcess(), list[int]()

    def policy(status: int, seconds: float) -> float:
        seen.append(status)
        return 0.0

    async with running(SupervisedProcess(process, policy)):
        for status in (1, 2, 3):
            await process.started.wait()
            process.exit(status)
        await process.started.wait()
    assert (process.starts, seen) == (4, [1, 2, 3])


async def test_restart_replaces_the_process_and_ends_a_wait_without_limit() -> None:
    process = FakeProcess()
    supervised = SupervisedProcess(process, lambda status, seconds: math.inf, stop_signal=signal.SIGQUIT)
    async with running(supervised):
        await process.started.wait()
        process.started.clear()
        supervised.restart()
        await process.started.wait()
        assert process.signals == [signal.SIGQUIT]
        process.exit(1)
        await asyncio.sleep(0.01)
        assert process.starts == 2
        supervised.restart()
        await process.started.wait()
    assert process.starts == 3


async def test_cancelled_supervision_stops_the_process() -> None:
    process = FakeProcess()
    running = asyncio.create_task(SupervisedProcess(process, lambda status, seconds: 0.0).run())
    await process.started.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert process.signals == [signal.SIGTERM]


def test_exits_are_described_for_subprocess_and_shell_statuses() -> None:
    assert describe_exit(-signal.SIGKILL) == describe_exit(128 + signal.SIGKILL) == "signal SIGKILL"
    assert [describe_exit(code) for code in (0, 3, 128, 255)] == [
        "exit status 0", "exit status 3", "exit status 128", "exit status 255",
    ]  # fmt: skip
