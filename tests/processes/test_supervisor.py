"""Supervised processes: restart by policy, replacement, signals, and the description of exits."""

import asyncio
import math
import signal

import pytest

from sidelane.processes.child import CliProcess
from sidelane.processes.exit_code import Exit, describe_exit
from sidelane.processes.supervisor import SupervisedProcess, process_names


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


async def test_process_is_started_again_as_its_policy_says() -> None:
    process, seen = FakeProcess(), list[int]()

    def policy(status: int, seconds: float) -> float | None:
        seen.append(status)
        return 0.0 if len(seen) < 3 else None

    running = asyncio.create_task(SupervisedProcess(process, policy).run())
    for status in (1, 2, 3):
        await process.started.wait()
        process.exit(status)
    assert await running == 3
    assert (process.starts, seen) == (3, [1, 2, 3])


async def test_restart_replaces_the_process_and_ends_a_wait_without_limit() -> None:
    process = FakeProcess()
    supervised = SupervisedProcess(process, lambda status, seconds: math.inf, stop_signal=signal.SIGQUIT)
    running = asyncio.create_task(supervised.run())
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
    supervised.signal(signal.SIGTERM)
    assert await running == 128 + signal.SIGTERM
    assert process.starts == 3


async def test_signal_ends_the_wait_for_a_restart() -> None:
    process = FakeProcess()
    supervised = SupervisedProcess(process, lambda status, seconds: 60.0)
    running = asyncio.create_task(supervised.run())
    await process.started.wait()
    process.exit(1)
    await asyncio.sleep(0.01)
    supervised.signal(signal.SIGTERM)
    assert await running == Exit.DONE
    assert process.starts == 1


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


def test_processes_are_numbered_if_there_are_several() -> None:
    assert process_names("w", 1) == ["w"]
    assert process_names("w", 3) == ["w-1", "w-2", "w-3"]
