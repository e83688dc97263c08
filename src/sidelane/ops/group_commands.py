"""Requests to running groups over their control sockets: restart one process after another, and change their number."""

from collections.abc import Mapping, Sequence

from sidelane.ops.progress import Progress
from sidelane.ops.selection import check_names
from sidelane.ops.state import StateDirectory
from sidelane.ops.supervisor import SupervisorClient
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


def scale(state: StateDirectory, processes: Mapping[str, int], progress: Progress) -> bool:
    """Change the number of processes of groups. Return whether all have their number.

    Raises `NoSupervisor` and `UnknownGroup`.
    """
    current = SupervisorClient(state).programs()
    check_names(processes, current)
    results = [
        _request(state, name, {"command": "scale", "processes": count}, progress) for name, count in processes.items()
    ]
    return all(results)


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
