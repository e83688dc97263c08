"""Metrics port of a process group: the figures that each of its processes keeps, for Prometheus."""

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager

from sidelane.processes.http_port import Answer, serve_answers
from sidelane.processes.member import Member

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

HEAD = re.compile("^# HELP ", re.MULTILINE)
"""Begin of a metric in the text format. A label may contain the same text, but not at the begin of a line."""


def serve_metrics(
    listener: socket.socket, members: Callable[[], Sequence[Member]]
) -> AbstractAsyncContextManager[None]:
    """Answer `GET /metrics` with the metrics of all members, during the block.

    A member that does not answer in time, e.g. because its event loop is blocked, is left out.
    """

    async def metrics() -> Answer:
        texts = await asyncio.gather(*(member.read_metrics() for member in members()))
        return Answer(ok=True, body=joined(texts).encode(), content_type=CONTENT_TYPE)

    return serve_answers(listener, {"/metrics": metrics})


def joined(texts: Iterable[str]) -> str:
    """Join texts of Prometheus' format. The samples of one metric must be together, below its help and its type."""
    samples: dict[str, list[str]] = {}  # by the lines of help and type
    for text in texts:
        for metric in HEAD.split(text)[1:]:
            first, second, lines = metric.split("\n", 2)
            samples.setdefault(f"# HELP {first}\n{second}\n", []).append(lines)
    return "".join(head + "".join(lines) for head, lines in samples.items())
