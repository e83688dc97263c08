"""How processes log to stderr: as JSON, or for people: `12:03:11 INFO  w1  job … failed for good`, with tracebacks below.

Messages repeat foreign text, e.g. errors of tasks. This text is escaped, so that it cannot
look like another record or act on a terminal.
"""

import logging
import os
import sys
from dataclasses import dataclass
from typing import TextIO

from sidelane.model.printable import printable, printable_line
from sidelane.processes.json_logs import JsonLogFormatter

COLOURS = {
    logging.DEBUG: "2",
    logging.INFO: "32",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}

SHORT_NAMES = {logging.WARNING: "WARN", logging.CRITICAL: "FATAL"}

UNNAMED_LOGGERS = ("sidelane", "uvicorn")
"""Loggers whose name is not printed, because it adds nothing to the message."""

VERBOSE_LOGGERS = ("aiobotocore", "aiohttp", "asyncio", "botocore", "google", "grpc", "urllib3")
"""Loggers of libraries that log every step, including signatures. Only their warnings are logged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOptions:
    """How a process logs: its name, the minimum level, the format ("text" or "json"), and its release for JSON."""

    name: str
    level: str | int
    format: str = "text"
    release: str = ""


class LogFormatter(logging.Formatter):
    """One line per record, prefixed with the worker name and, for the application's own loggers, the logger name.

    Further lines of a message, and tracebacks, are indented.
    """

    def __init__(self, worker: str, *, coloured: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._worker = f"{printable_line(worker)}  " if worker else ""
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        logger = "" if record.name.split(".")[0] in UNNAMED_LOGGERS else f"{record.name}: "
        level = f"{SHORT_NAMES.get(record.levelno, record.levelname[:5]):5}"
        time = self.formatTime(record, self.datefmt)
        if self._coloured:
            level, time = f"\x1b[{COLOURS.get(record.levelno, '0')}m{level}\x1b[0m", f"\x1b[2m{time}\x1b[0m"
        parts = [
            record.getMessage(),
            getattr(record, "traceback", ""),
            self.formatException(record.exc_info) if record.exc_info else "",
        ]
        lines = [line for part in parts for line in printable(part.rstrip()).split("\n") if part]
        return f"{time} {level} {self._worker}{logger}" + "\n    ".join(lines)


def log_to_stderr(options: LogOptions, *filters: logging.Filter) -> None:
    """Send this process's log to stderr, through filters that add fields. Without a name, lines have no prefix."""
    handler = logging.StreamHandler(sys.stderr)
    if options.format == "json":
        handler.setFormatter(JsonLogFormatter(options.name, options.release))
    else:
        handler.setFormatter(LogFormatter(options.name, coloured=use_colours(sys.stderr)))
    for each in filters:
        handler.addFilter(each)
    logging.basicConfig(level=options.level, handlers=[handler], force=True)
    for name in VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def use_colours(stream: TextIO) -> bool:
    """Return whether to colour a stream: if it is a terminal and NO_COLOR is not set, or if FORCE_COLOR is set."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")
