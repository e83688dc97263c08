"""The process of an isolation worker: it runs isolated jobs one by one, and ends when there are none."""

import asyncio
import importlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from sidelane.worker.child_main import find_task
from sidelane.worker.child_protocol import MAX_LINE_SIZE, pack, unpack
from sidelane.worker.worker import Worker

FAILED = 1


async def main(fd: int) -> NoReturn:
    """Serve the parent at the other end of this socket, and end the process: a task that hangs on must not keep it."""
    reader, writer = await asyncio.open_connection(sock=socket.socket(fileno=fd), limit=MAX_LINE_SIZE)
    hello = unpack(await reader.readline())
    log_as(hello["name"], hello["level"])
    status = 0
    try:
        await _work(hello, reader, writer)
    except Exception as error:  # noqa: BLE001 - whatever importing the user's modules raises, the parent is told
        status = FAILED
        writer.write(pack({"broken": f"{type(error).__name__}: {error}"}))
        await writer.drain()
    logging.shutdown()
    os._exit(status)


async def _work(hello: dict[str, Any], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    lane = find_task(*hello["task"]).lane
    async with lane.open():
        worker: Worker = lane.worker(name=hello["name"], queues=dict.fromkeys(hello["queues"]), isolated=True)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.drain)
        beside = [
            asyncio.create_task(_listen(reader, worker)),
            asyncio.create_task(_end_when_idle(worker, hello["idle"])),
        ]
        writer.write(pack({"ready": worker.id}))
        await worker.run()
        for task in beside:
            task.cancel()


async def _listen(reader: asyncio.StreamReader, worker: Worker) -> None:
    """Do what the parent says. A parent that is gone leaves its worker the job in hand."""
    try:
        while line := await reader.readline():
            if "stop" in unpack(line):
                worker.stop_now()
            worker.drain()
    except ConnectionError:
        pass
    worker.drain()


async def _end_when_idle(worker: Worker, seconds: float) -> None:
    left = seconds
    while left > 0:
        await asyncio.sleep(left)
        left = seconds - worker.idle
    worker.drain()


def loop_factory(kind: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    """Run the kind of event loop that the parent runs: asyncio's own, or another package's."""
    return None if kind == "asyncio" else importlib.import_module(kind).new_event_loop


def log_as(name: str, level: int) -> None:
    """Send this process's log to stderr, where the parent's goes."""
    logging.basicConfig(
        level=level, format=f"%(asctime)s %(levelname)-5s {name}  %(message)s", datefmt="%H:%M:%S", force=True
    )


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the parent, which tells this process
    with asyncio.Runner(loop_factory=loop_factory(sys.argv[2])) as runner:
        runner.run(main(int(sys.argv[1])))
