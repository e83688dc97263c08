"""A process of a group for tests: reports to its parent, and acts as its first argument says."""

import argparse
import asyncio
import os
import signal
import sys

from sidelane.processes.parent import ParentConnection, Report


async def main(options: argparse.Namespace) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGQUIT):
        loop.add_signal_handler(number, (lambda: None) if options.mode == "stubborn" else stop.set)
    if options.log:
        with open(options.log, "a", encoding="utf-8") as log:
            log.write(f"{options.name} {os.getpid()}\n")
    finished = 0

    def report() -> Report:
        nonlocal finished
        finished += options.mode == "works"
        return Report(ready=options.mode != "never-ready", finished=finished, worker=options.name)

    sending = asyncio.create_task(ParentConnection(options.report, report).run())
    await stop.wait()
    sending.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("mode")
    parser.add_argument("--log")
    parser.add_argument("--name")
    parser.add_argument("--file", type=int)
    parser.add_argument("--parent", type=int)
    parser.add_argument("--report", type=int)
    arguments = parser.parse_args()
    if os.path.exists(arguments.mode):  # the mode may be the path of a file with the mode
        with open(arguments.mode, encoding="utf-8") as file:
            arguments.mode = file.read().strip()
    if arguments.mode.isdecimal():
        sys.exit(int(arguments.mode))
    asyncio.run(main(arguments))
