"""Readiness checks of programs that do not report their state."""

import asyncio
import sys
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

CHECK_INTERVAL = 0.2
"""Seconds between two attempts."""

ATTEMPT_TIMEOUT = 2.0
"""Seconds for one attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyCheck:
    """How a program shows that it is ready; without any of them it is ready when it has started.

    `http` is a URL that answers 2xx or 3xx, `tcp` a host and port that accepts a connection, `log` a text in a line of output, and
    `delay` a number of seconds.
    """

    http: str | None = None
    tcp: tuple[str, int] | None = None
    log: str | None = None
    delay: float | None = None


async def wait_ready(check: ReadyCheck, output: asyncio.StreamReader | None) -> None:
    """Wait until a program passes its check. `output` is the program's, if the check reads it."""
    if check.log is not None and output is not None:
        await wait_line(check.log, output)
    elif check.tcp is not None:
        host, port = check.tcp
        await _repeat(lambda: _connects(host, port))
    elif check.http is not None:
        url = check.http
        await _repeat(lambda: _answers(url))
    else:
        await asyncio.sleep(check.delay or 0.0)


async def wait_line(text: str, output: asyncio.StreamReader) -> None:
    """Copy lines of output to stdout until one contains a text, or the output ends."""
    while line := await copy_line(output):
        if text.encode() in line:
            return


async def copy_line(output: asyncio.StreamReader) -> bytes:
    """Copy one line, or as much of it as the reader holds, to stdout. Return it, or nothing at the end."""
    try:
        line = await output.readuntil(b"\n")
    except asyncio.IncompleteReadError as error:
        line = error.partial
    except asyncio.LimitOverrunError as error:
        line = await output.read(error.consumed)
    sys.stdout.buffer.write(line)
    sys.stdout.buffer.flush()
    return line


async def _repeat(attempt: Callable[[], Coroutine[Any, Any, bool]]) -> None:
    while True:
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT):
                if await attempt():
                    return
        except (OSError, TimeoutError, ValueError):
            pass
        await asyncio.sleep(CHECK_INTERVAL)


async def _connects(host: str, port: int) -> bool:
    _, writer = await asyncio.open_connection(host, port)
    writer.close()
    return True


async def _answers(url: str) -> bool:
    """Return whether a URL answers 2xx or 3xx. An HTTP client would double the memory of the parent process."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port or 80)
    try:
        path = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
        writer.write(f"GET {path} HTTP/1.1\r\nhost: {parts.netloc}\r\nconnection: close\r\n\r\n".encode())
        status = (await reader.readline()).split(b" ")
        return len(status) > 1 and status[1][:1] in {b"2", b"3"}
    finally:
        writer.close()
