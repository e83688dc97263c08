"""Process of an isolation worker. The process runs isolated jobs one by one, and exits when there are none."""

import asyncio
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from sidelane.processes.child import connect_to_parent
from sidelane.processes.exit_code import Exit
from sidelane.processes.logs import LogOptions, log_to_stderr
from sidelane.tasks.job_log_filter import JobLogFilter
from sidelane.worker.child_main import find_task
from sidelane.worker.child_protocol import pack, unpack
from sidelane.worker.worker import Worker


async def main(descriptor: int) -> NoReturn:
    """Work for the parent at the other end of this socket, and exit, even if a task's thread still runs."""
    reader, writer = await connect_to_parent(descriptor)
    options = unpack(await reader.readline())
    log_to_stderr(LogOptions(**options["log"]), JobLogFilter())
    status = Exit.DONE
    try:
        await _work(options, reader, writer)
    except Exception as error:  # noqa: BLE001 - whatever importing the user's modules raises goes to the parent
        status = Exit.FAILED
        writer.write(pack({"broken": f"{type(error).__name__}: {error}"}))
        await writer.drain()
    logging.shutdown()
    os._exit(status)


async def _work(options: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    lane = find_task(*options["task"]).lane
    async with lane.open():
        worker: Worker = lane.worker(name=options["name"], queues=dict.fromkeys(options["queues"]), isolated=True)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.drain)
        watchers = [
            asyncio.create_task(_follow_parent(reader, worker)),
            asyncio.create_task(_drain_when_idle(worker, options["idle"])),
        ]
        writer.write(pack({"ready": worker.id}))
        await worker.run()
        for task in watchers:
            task.cancel()


async def _follow_parent(reader: asyncio.StreamReader, worker: Worker) -> None:
    """Follow the commands of the parent. If the parent has exited, finish the running job and exit."""
    try:
        while line := await reader.readline():
            if "stop" in unpack(line):
                worker.stop_now()
            worker.drain()
    except ConnectionError:
        pass
    worker.drain()


async def _drain_when_idle(worker: Worker, seconds: float) -> None:
    left = seconds
    while left > 0:
        await asyncio.sleep(left)
        left = seconds - worker.idle
    worker.drain()


def loop_factory(package: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Return the event loop factory of the package that the parent uses, or None for asyncio's own."""
    return None if package == "asyncio" else importlib.import_module(package).new_event_loop


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent, which stops this process
    with asyncio.Runner(loop_factory=loop_factory(sys.argv[2])) as runner:
        runner.run(main(int(sys.argv[1])))
