"""Log lines that people read: `12:03:11 INFO  w1  job … failed for good`, with tracebacks below."""

import logging
import os
import sys
from typing import TextIO

COLOURS = {
    logging.DEBUG: "2",
    logging.INFO: "32",
    logging.WARNING: "33",
    logging.ERROR: "31",
    logging.CRITICAL: "1;31",
}

SHORT_NAMES = {logging.WARNING: "WARN", logging.CRITICAL: "FATAL"}

UNNAMED_LOGGERS = ("sidelane", "uvicorn")
"""Loggers whose name says nothing that the line does not say."""

VERBOSE_LOGGERS = ("aiobotocore", "aiohttp", "asyncio", "botocore", "google", "grpc", "urllib3")
"""Loggers of others that tell every step, signatures among them, and are heard from warnings on."""


class LogFormatter(logging.Formatter):
    """One line a record; who speaks stands in front (nobody where that is plain), and which logger where it is the user's own."""

    def __init__(self, speaker: str, *, coloured: bool) -> None:
        super().__init__(datefmt="%H:%M:%S")
        self._speaker = f"{speaker}  " if speaker else ""
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        named = "" if record.name.split(".")[0] in UNNAMED_LOGGERS else f"{record.name}: "
        level = f"{SHORT_NAMES.get(record.levelno, record.levelname[:5]):5}"
        time = self.formatTime(record, self.datefmt)
        if self._coloured:
            level, time = f"\x1b[{COLOURS.get(record.levelno, '0')}m{level}\x1b[0m", f"\x1b[2m{time}\x1b[0m"
        text = f"{time} {level} {self._speaker}{named}{record.getMessage()}"
        for more in (
            getattr(record, "traceback", ""),
            self.formatException(record.exc_info) if record.exc_info else "",
        ):
            if more:
                text += "\n" + "\n".join(f"    {line}" for line in more.rstrip().splitlines())
        return text


def log_to_stderr(speaker: str, level: str) -> None:
    """Send this process's log to stderr, from `level` on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LogFormatter(speaker, coloured=colours_wanted(sys.stderr)))
    logging.basicConfig(level=level, handlers=[handler], force=True)
    for name in VERBOSE_LOGGERS:
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))


def colours_wanted(stream: TextIO) -> bool:
    """Tell whether to colour what goes to a stream: a terminal, unless NO_COLOR; anything, with FORCE_COLOR."""
    if os.environ.get("NO_COLOR"):
        return False
    return bool(os.environ.get("FORCE_COLOR")) or (stream.isatty() and os.environ.get("TERM") != "dumb")
