"""State of a service, in tables that fit 80 columns: groups, processes, errors, queues, workers of other hosts."""

import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich.text import Text

from sidelane.cli.output.console import output, stderr, warning, write
from sidelane.cli.output.scaling import print_autoscaled
from sidelane.cli.output.states import one_line
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration, relative_time
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.sizes import size_text
from sidelane.ops.status import NO_STORE

Document = Mapping[str, Any]

GROUPS = Columns(
    headers=("GROUP", "STATE", "READY", "UPTIME", "RESTARTS", "CPU", "MEMORY", "RUNNING"),
    droppable=("RESTARTS", "CPU"),
    shrinkable=("GROUP", "STATE"),
    numbers=("READY", "UPTIME", "RESTARTS", "CPU", "MEMORY", "RUNNING"),
)
PROCESSES = Columns(
    headers=("PROCESS", "STATE", "PID", "UPTIME", "CPU", "MEMORY", "RUNNING"),
    droppable=("PID", "CPU"),
    shrinkable=("PROCESS", "STATE"),
    numbers=("PID", "UPTIME", "CPU", "MEMORY", "RUNNING"),
)
QUEUES = Columns(
    headers=("QUEUE", "READY", "RUNNING", "OLDEST", "AT LIMIT", "DELAYED"),
    shrinkable=("QUEUE",),
    numbers=("READY", "RUNNING", "OLDEST", "AT LIMIT", "DELAYED"),
)
WORKERS = Columns(
    headers=("WORKER", "HEALTH", "RUNNING", "CPU", "MEMORY", "HOST", "PID", "QUEUES"),
    droppable=("QUEUES", "PID"),
    shrinkable=("WORKER", "HEALTH", "HOST", "QUEUES"),
    numbers=("RUNNING", "CPU", "MEMORY", "PID"),
)
API_PROCESSES = Columns(
    headers=("API", "STREAMS", "CPU", "MEMORY", "HOST", "PID"),
    droppable=("PID",),
    shrinkable=("HOST",),
    numbers=("STREAMS", "CPU", "MEMORY", "PID"),
)

STYLES = {"ready": "green", "failed": "bold red", "gave up": "bold red", "no answer": "red", "ended": "red", "stopped": "dim",
          "not started": "dim", "not ready": "red"}  # fmt: skip
"""Styles of states. Any other state is on its way to one of these."""

MAX_ERROR = 300
"""Characters of an error that are shown."""


def print_status(document: Document, *, processes: bool) -> None:
    """Print the document of `sidelane status`."""
    groups: Sequence[Document] = document["groups"]
    if document["error"]:
        stderr().print(warning(document["error"]))
    if document["supervisor"] is None:
        _print_elsewhere(document)
    else:
        _table(GROUPS, [_group_row(each) for each in groups])
        chosen = groups if processes else [each for each in groups if each["state"] in {"degraded", "starting"}]
        rows = [_process_row(process, time.time()) for group in chosen for process in group["processes"]]
        if rows:
            _table(PROCESSES, rows, gap=True)
        if autoscaled := [each for each in groups if each["autoscale"]]:
            output().print()
            print_autoscaled(autoscaled)
        for text in _errors(groups):
            stderr().print(text)
    rows = [_queue_row(each) for each in document["queues"] if _used(each)]
    if rows:
        _table(QUEUES, rows, gap=True)
    error = document["store"]["error"]
    if error and error != NO_STORE:
        stderr().print(warning(f"The queues are not shown: {error.rstrip('.')}."))


def memory_text(size: int | None) -> str:
    """Return a size in bytes as "52 MB" or "1.3 GB", or "" without a size."""
    return "" if size is None else size_text(size)


def _table(columns: Columns, rows: Sequence[Sequence[Text]], *, gap: bool = False) -> None:
    console = output()
    if gap:
        console.print()
    write(console, fit_table(console, columns, rows))


def _print_elsewhere(document: Document) -> None:
    workers, api_processes = document["workers"], document["api_processes"]
    if not workers and not api_processes:
        stderr().print(
            Text("Nothing runs here: no supervisor, and no live worker in the store. Start with `sidelane up`.")
        )
        return
    if workers:
        stderr().print(Text("No supervisor runs here. These are the live workers in the store:", "dim"))
        _table(WORKERS, [_worker_row(each) for each in workers])
    else:
        stderr().print(warning("No supervisor runs here, and no worker is alive."))
    if api_processes:
        _table(API_PROCESSES, [_api_row(each) for each in api_processes], gap=True)


def _group_row(group: Document) -> list[Text]:
    counts = "" if group["target"] is None else f"{group['ready']}/{group['target']}"
    return [
        Text(group["name"], "bold"),
        _state(group["state"]),
        Text(counts),
        Text("" if group["uptime"] is None else duration(group["uptime"])),
        _optional(group["restarts"], "yellow"),
        _cpu(group["cpu"]),
        Text(memory_text(group["memory"])),
        _optional(group["running"], "bold cyan"),
    ]


def _process_row(process: Document, now: float) -> list[Text]:
    return [
        Text(process["name"]),
        _state(process["state"]),
        Text(str(process["pid"] or "")),
        Text(duration(now - process["started"]) if process["started"] else ""),
        _cpu(process["cpu"]),
        Text(memory_text(process["memory"])),
        _optional(process["running"], "bold cyan"),
    ]


def _queue_row(queue: Document) -> list[Text]:
    return [
        Text(f"{queue['name']} (paused)" if queue["paused"] else queue["name"], "bold"),
        _optional(queue["ready"]),
        _optional(queue["running"], "bold cyan"),
        Text("" if queue["oldest"] is None else duration(queue["oldest"])),
        _optional(queue["waiting_for_limit"], "magenta"),
        _optional(queue["delayed"], "yellow"),
    ]


def _worker_row(worker: Document) -> list[Text]:
    health = worker["health"]
    return [
        Text(worker["name"], "bold"),
        Text(f"● {health}", "green" if health == "ok" else "red"),
        Text(f"{worker['running']} of {worker['slots']}"),
        _cpu(worker["cpu"]),
        Text(memory_text(worker["memory"])),
        Text(worker["host"], "dim"),
        Text(str(worker["pid"]), "dim"),
        Text(", ".join(worker["queues"])),
    ]


def _api_row(process: Document) -> list[Text]:
    return [
        Text(process["name"], "bold"),
        Text(f"{process['streams']:,}"),
        _cpu(process["cpu"]),
        Text(memory_text(process["memory"])),
        Text(process["host"], "dim"),
        Text(str(process["pid"]), "dim"),
    ]


def _errors(groups: Sequence[Document]) -> Iterator[Text]:
    """Yield a line for each error of a group, and for the last unexpected end of one of its processes."""
    for group in groups:
        if group["error"]:
            yield warning(f"{group['name']}: {one_line(group['error'], MAX_ERROR)}")
        last = group["last_exit"]
        if last:
            when = relative_time(last["at"], time.time())
            yield Text(f"  {group['name']}: {last['process']} ended {when}: {last['reason']}", "yellow")


def _used(queue: Document) -> bool:
    """Return whether a queue has jobs, or is one of the user's that a worker takes."""
    served = queue["workers"] and not queue["name"].startswith(INTERNAL_PREFIX)
    return bool(served or queue["ready"] or queue["running"] or queue["delayed"] or queue["waiting_for_limit"])


def _state(state: str) -> Text:
    return Text(f"● {state}", STYLES.get(state, "yellow"))


def _optional(count: int | None, style: str = "") -> Text:
    return Text("" if count is None else f"{count:,}", style if count else "dim")


def _cpu(share: float | None) -> Text:
    return Text("" if share is None else f"{share * 100:.0f} %")
