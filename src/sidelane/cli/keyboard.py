"""Keyboard: single keys of the terminal on standard input, without Enter and without an echo."""

import asyncio
import os
import re
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager

MAX_READ = 100
"""Bytes that are read at once."""

_ESCAPES = re.compile(rb"\x1b(?:\[[0-9;]*[A-Za-z~]|O[A-Za-z])?")
"""What the terminal sends for arrows and other keys without a character."""


@contextmanager
def pressed_keys(on_key: Callable[[str], None], on_closed: Callable[[], None]) -> Iterator[None]:
    """Call `on_key` with each character that is typed within the block, and `on_closed` once the terminal is gone.

    Needs a running event loop. Ctrl-C still sends its signal.
    """
    descriptor, loop = sys.stdin.fileno(), asyncio.get_running_loop()

    def read() -> None:
        try:
            data = os.read(descriptor, MAX_READ)
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(descriptor)
            on_closed()
        for key in _ESCAPES.sub(b"", data).decode(errors="ignore"):
            on_key(key)

    before = termios.tcgetattr(descriptor)
    tty.setcbreak(descriptor)
    loop.add_reader(descriptor, read)
    try:
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
