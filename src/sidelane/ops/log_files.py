"""Log files of groups: their last lines, without reading a large file as a whole."""

import os
from pathlib import Path

CHUNK_SIZE = 64 * 1024

MAX_LINE_SIZE = 64 * 1024
"""Bytes of a line that are shown. The rest of a longer line is left out."""

MAX_TAIL_SIZE = 16 * 1024 * 1024
"""Bytes at the end of a file that are searched for its last lines."""


def last_lines(path: Path, count: int, *, since: int = 0) -> tuple[list[str], int]:
    """Return the last `count` lines of a file and its size, or nothing if there is no such file.

    `since` is the first byte to read. A file that has become shorter was rotated, and is read from its start.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            start = since if since <= size else 0
            lowest = max(start, size - MAX_TAIL_SIZE)
            position, data = size, b""
            while position > lowest and data.count(b"\n") <= count:
                step = min(CHUNK_SIZE, position - lowest)
                position -= step
                file.seek(position)
                data = file.read(step) + data
    except FileNotFoundError:
        return [], 0
    lines = data.split(b"\n")
    if lines and not lines[-1]:
        lines.pop()  # the file ends with a line end
    if position > start and len(lines) <= count:
        lines = lines[1:]  # its beginning is before what was read
    return [line_text(each) for each in lines[-count:]] if count else [], size


def line_text(line: bytes) -> str:
    """Return one line of a log as text, cut if it is very long."""
    text = line[:MAX_LINE_SIZE].decode(errors="replace").rstrip("\r")
    return f"{text}… ({len(line):,} bytes)" if len(line) > MAX_LINE_SIZE else text
