"""Commands per second that an idle worker sends to Redis; those inside scripts are counted separately."""

import socket
import time

from benchmarks.contestants import Trial
from benchmarks.measured import Figures
from benchmarks.server import Server
from benchmarks.workload import Bar, Column, Results, Workload


def measure(trial: Trial, quick: bool) -> Figures:
    assert isinstance(trial.server, Server)
    seconds = 4.0 if quick else 20.0
    trial.ask("submit", "noop", 1, "one")
    with trial.worker(trial.contestant.slots):
        until = time.monotonic() + 30
        while not trial.count() and time.monotonic() < until:
            time.sleep(0.05)
        time.sleep(2)
        lines = monitored(trial.server.port, seconds)
    inside = sum(b" lua]" in line for line in lines)
    return {"commands": (len(lines) - inside) / seconds, "inside": inside / seconds}


def monitored(port: int, seconds: float) -> list[bytes]:
    """Return the commands that the server received within `seconds`."""
    received = b""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"MONITOR\r\n")
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            connection.settimeout(left)
            try:
                received += connection.recv(1 << 16)
            except TimeoutError:
                break
    return [line for line in received.split(b"\r\n") if line.startswith(b"+") and line != b"+OK"]


def bars(results: Results) -> list[Bar]:
    commands = results["sidelane"].median("commands") if "sidelane" in results else None
    if commands is None:
        return []
    return [Bar("commands of an idle worker", f"{commands:.2f} a second", "<= 1 a second", commands <= 1)]


WORKLOAD = Workload(
    name="idle",
    title="Commands of an idle worker",
    about=__doc__ or "",
    measure=measure,
    columns=[
        Column(figure="commands", heading="commands/s", form="{:.2f}"),
        Column(figure="inside", heading="inside scripts/s", form="{:.2f}"),
    ],
    bars=bars,
    together=3,
    quick=lambda each: each.ours,
    lower_is_better=True,
    takes_part=lambda each: each.queues and each.store == "redis",
)
