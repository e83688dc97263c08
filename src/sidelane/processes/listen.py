"""Listening sockets: opened once and passed to child processes, so that a restart refuses no connection."""

import socket

import psutil

from sidelane.model.errors import ConfigurationError

BACKLOG = 2048
"""Connections that the kernel holds until a process accepts them."""


def open_listener(host: str, port: int) -> socket.socket:
    """Open a listening socket. Raises `ConfigurationError`, which names the program that holds the port if it can be found."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(address[:2], family=family, backlog=BACKLOG)
    except OSError as error:
        holder = port_holder(port)
        reason = f"{holder} uses it. Stop that program" if holder else f"{error.strerror}. Choose another address"
        raise ConfigurationError(f"Cannot listen on {host}, port {port}: {reason}, or choose another port.") from error


def port_holder(port: int) -> str | None:
    """Return the program that listens on a TCP port, e.g. "python3 (PID 4711)", or None if it is free or cannot be found."""
    try:
        pids = [
            each.pid
            for each in psutil.net_connections("tcp")
            if each.status == psutil.CONN_LISTEN and each.laddr and each.laddr.port == port
        ]
        pid = next((each for each in pids if each), None)
        return None if pid is None else f"{psutil.Process(pid).name()} (PID {pid})"
    except psutil.Error:
        return None  # other users' processes are hidden here


def format_address(host: str, port: int) -> str:
    """Return "127.0.0.1:8000" or "[::1]:8000"."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
