"""A process of a group for tests: reports to its parent, and acts as its first argument says."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from sidelane.processes.parent import ParentConnection, Report


async def main(options: argparse.Namespace) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGQUIT):
        loop.add_signal_handler(number, (lambda: None) if options.mode == "stubborn" else stop.set)
    finished = 0

    def report() -> Report:
        nonlocal finished
        finished += options.mode == "works"
        return Report(ready=options.mode != "never-ready", finished=finished, worker=options.name)

    def metrics() -> str:
        if options.mode == "one-blocked" and "-1@" in options.name:
            signal.pause()
        return f'# HELP runs Runs.\n# TYPE runs gauge\nruns{{process="{options.name}"}} 1.0\n'

    sending = asyncio.create_task(ParentConnection(options.report, report, metrics=metrics).run())
    await stop.wait()
    sending.cancel()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("mode")
    parser.add_argument("--name")
    parser.add_argument("--file", type=int)
    parser.add_argument("--parent", type=int)
    parser.add_argument("--report", type=int)
    arguments = parser.parse_args()
    if (file := Path(arguments.mode)).exists():  # the mode may be the path of a file with the mode
        arguments.mode = file.read_text(encoding="utf-8").strip()
    if arguments.mode.isdecimal():
        sys.exit(int(arguments.mode))
    asyncio.run(main(arguments))
