"""Requests to running groups over their control sockets: restart one process after another, and change their number."""

from collections.abc import Mapping, Sequence
from typing import Any

from sidelane.ops.progress import Progress
from sidelane.ops.selection import check_names
from sidelane.ops.state import StateDirectory
from sidelane.ops.supervisor import SupervisorClient
from sidelane.ops.up import control_status
from sidelane.processes import control

LINE_TIMEOUT = 3600.0
"""Seconds between two lines of an answer: a drain may wait for the longest job."""


def restart(state: StateDirectory, names: Sequence[str], progress: Progress) -> bool:
    """Replace the processes of groups, by default of all that run. Return whether all were replaced.

    Raises `NoSupervisor` and `UnknownGroup`.
    """
    current = SupervisorClient(state).programs()
    check_names(names, current)
    chosen = [name for name in names or current if names or not current[name].ended]
    results = []
    for name in chosen:
        if current[name].ended:
            progress.fail(f"{name} does not run. Start it with `sidelane up {name}`.")
            results.append(False)
        else:
            results.append(_request(state, name, {"command": "restart"}, progress))
    return all(results)


def scale(state: StateDirectory, processes: Mapping[str, int | None], progress: Progress) -> bool:
    """Change the number of processes of groups, and pin it. None lets the autoscaler decide again.

    Return whether all have their number. Raises `NoSupervisor` and `UnknownGroup`.
    """
    current = SupervisorClient(state).programs()
    check_names(processes, current)
    results = [
        _unpin(state, name, progress) if count is None else _pin(state, name, count, progress)
        for name, count in processes.items()
    ]
    return all(results)


def _pin(state: StateDirectory, name: str, count: int, progress: Progress) -> bool:
    scaled = _request(state, name, {"command": "scale", "processes": count, "pinned": True}, progress)
    if _autoscale(state, name) is not None:
        progress.report(f"{name} is pinned to this number. `sidelane scale {name}=auto` lets the load decide again.")
    return scaled


def _unpin(state: StateDirectory, name: str, progress: Progress) -> bool:
    if not _request(state, name, {"command": "unpin"}, progress):
        return False
    if (autoscale := _autoscale(state, name)) is None:
        progress.fail(
            f'{name} is not autoscaled. Start it with `sidelane up --autoscale {name}=1..8`, or write autoscale = "1..8" into '
            "its description and run `sidelane up`."
        )
        return False
    progress.report(
        f"{name}: the load decides about the number, from {autoscale['least']} to {autoscale['most']} processes"
    )
    return True


def _autoscale(state: StateDirectory, name: str) -> Mapping[str, Any] | None:
    """Return the last report of the autoscaler about a group."""
    return (control_status(state, name) or {}).get("autoscale")


def _request(state: StateDirectory, name: str, request: Mapping[str, object], progress: Progress) -> bool:
    """Send a request and report each line of the answer. Return whether it ended well."""
    try:
        for answer in control.call(state.control_socket(name), request, timeout=LINE_TIMEOUT):
            if "error" in answer:
                progress.fail(f"{name}: {answer['error']}")
                return False
            if "message" in answer:
                progress.report(f"{name}: {answer['message']}")
            if answer.get("done"):
                return True
    except (OSError, ValueError) as error:
        progress.fail(
            f"{name} does not answer ({error}). `sidelane status` shows its state, `sidelane logs {name}` the reason."
        )
        return False
    progress.fail(f"{name} ended while it was working on this. `sidelane logs {name}` shows the reason.")
    return False
