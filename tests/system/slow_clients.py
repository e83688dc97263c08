"""Clients of event streams and WebSockets that connect and read later; until then they receive nothing."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from http.client import HTTPResponse
from typing import Any, NamedTuple, Protocol

from websockets.sync.client import connect

RECEIVE_BUFFER = 4096
"""Bytes that the client's end of the connection buffers, about."""

TIMEOUT = 30.0


class ReceivedEvent(NamedTuple):
    """One event as a client received it: its id ("" if it has none), its name and its data."""

    id: str
    name: str
    data: Any


class SlowClient(Protocol):
    """A connected client."""

    def read(self) -> Iterator[ReceivedEvent]:
        """Read events until the server ends."""
        ...

    def close(self) -> None:
        """Close the connection, wherever it is."""
        ...


def connected(port: int) -> socket.socket:
    """Connect with a very small receive buffer."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    connection.settimeout(TIMEOUT)
    connection.connect(("127.0.0.1", port))
    return connection


class SlowStream:
    """An event stream over HTTP."""

    def __init__(self, port: int, job: str, after: str = "") -> None:
        self._connection = connected(port)
        resume = f"Last-Event-ID: {after}\r\n" if after else ""
        request = f"GET /jobs/{job}/events HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n{resume}\r\n"
        self._connection.sendall(request.encode())
        self._response = HTTPResponse(self._connection)

    def read(self) -> Iterator[ReceivedEvent]:
        self._response.begin()
        assert self._response.status == 200
        fields: dict[str, str] = {}
        while line := self._response.readline().decode():
            name, colon, value = line.rstrip("\n").partition(": ")
            if name and colon:
                fields[name] = value
            elif "data" in fields:
                yield ReceivedEvent(fields.get("id", ""), fields["event"], json.loads(fields["data"]))
                fields = {}

    def close(self) -> None:
        self._response.close()
        self._connection.close()


class SlowSocket:
    """A WebSocket."""

    def __init__(self, port: int, job: str, after: str = "") -> None:
        headers = {"Last-Event-ID": after} if after else {}
        opening = connect(
            f"ws://127.0.0.1:{port}/jobs/{job}/events", sock=connected(port), max_queue=1, compression=None,
            additional_headers=headers, ping_interval=None,
        )  # fmt: skip
        self._open = ExitStack()
        self._socket = self._open.enter_context(opening)

    def read(self) -> Iterator[ReceivedEvent]:
        for text in self._socket:
            message = json.loads(text)
            yield ReceivedEvent(message.get("id", ""), message["event"], message["data"])

    def close(self) -> None:
        with suppress(OSError):  # the server has closed it
            self._socket.socket.shutdown(socket.SHUT_RDWR)
        self._open.close()
