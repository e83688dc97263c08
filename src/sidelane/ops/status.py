"""State of a service as one document: supervisord, the control sockets of the groups, and the store, asked at the same time."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import wait as wait_for_all
from dataclasses import dataclass
from typing import Any

from sidelane.model.errors import NoSupervisor, SupervisorError
from sidelane.ops.state import StateDirectory
from sidelane.ops.supervisor import ProcessInfo, SupervisorClient
from sidelane.processes import control
from sidelane.processes.exit_code import Exit

TIMEOUT = 0.5
"""Seconds for the answer of supervisord, of each parent and of the store."""

NO_STORE = "there is no store yet"
"""The error of a store in which nothing was stored yet."""

Document = dict[str, Any]

ENDED_STATES = {Exit.CONFIGURATION: "failed", Exit.USAGE: "failed", Exit.GAVE_UP: "gave up"}


@dataclass(frozen=True, slots=True)
class Status:
    """The document, and the exit code that says whether the service is healthy."""

    document: Document
    exit_code: Exit


def read_status(state: StateDirectory) -> Status:
    """Return the state of the service. Never waits long, even if a process or the store does not answer.

    The document has the live workers and API processes that the store knows, on every host.
    """
    executor = ThreadPoolExecutor(max_workers=32)
    store = executor.submit(read_store, state)
    supervisor, programs, error = _read_supervisor(state)
    calls = {name: executor.submit(_read_group, state, info) for name, info in programs.items() if not info.ended}
    calls_made: list[Future[Any]] = [store, *calls.values()]
    wait_for_all(calls_made, timeout=2 * TIMEOUT)
    executor.shutdown(wait=False, cancel_futures=True)
    now = time.time()
    groups = [_group(info, _result(calls.get(name)), now) for name, info in sorted(programs.items())]
    stored: Document = _result(store) or {"error": "the store did not answer in time"}
    healthy = supervisor is not None and error is None and _all_well(groups)
    document: Document = {
        "healthy": healthy,
        "state_directory": str(state.path),
        "supervisor": supervisor,
        "error": error,
        "groups": groups,
        "unfinished": stored.get("unfinished"),
        "queues": stored.get("queues", []),
        "workers": stored.get("workers", []),
        "api_processes": stored.get("api_processes", []),
        "store": {"url": stored.get("url"), "error": stored.get("error")},
    }
    if supervisor is None and error is None:
        workers = document["workers"]
        document["healthy"] = healthy = bool(workers) and all(each["health"] == "ok" for each in workers)
        if not workers and not document["api_processes"]:
            return Status(document, Exit.UNKNOWN)
    return Status(document, Exit.DONE if healthy else Exit.FAILED)


def read_store(state: StateDirectory) -> Document:
    """Return the queues, live workers and API processes that the store knows, or why it cannot be read."""
    from sidelane.admin.documents import queue_document, worker_document
    from sidelane.admin.queues import list_queues
    from sidelane.configuration import load_settings
    from sidelane.model.errors import SidelaneError
    from sidelane.model.worker import API, WORKER
    from sidelane.stores.factory import file_missing, open_store, redact_url

    document: Document = {"url": None, "error": None}

    async def read(url: str) -> None:
        async with asyncio.timeout(TIMEOUT):
            store = await open_store(url)
            try:
                queues, workers = await list_queues(store)
            finally:
                await store.close()
        document["queues"] = [queue_document(each, workers) for each in queues]
        document["unfinished"] = sum(each.queued + each.running for each in queues)
        found = sorted(workers, key=lambda each: (each.host, each.name, each.pid))
        document["workers"] = [worker_document(each) for each in found if each.kind == WORKER]
        document["api_processes"] = [worker_document(each) for each in found if each.kind == API]

    try:
        url = load_settings(*state.settings_source()).settings.store
        document["url"] = redact_url(url)
        if file_missing(url):
            document["error"] = NO_STORE
        else:
            asyncio.run(read(url))
    except TimeoutError:
        document["error"] = f"the store did not answer within {TIMEOUT:g} s"
    except (SidelaneError, OSError) as error:
        document["error"] = str(error)
    return document


def _read_supervisor(state: StateDirectory) -> tuple[Document | None, dict[str, ProcessInfo], str | None]:
    client = SupervisorClient(state, timeout=TIMEOUT)
    try:
        programs = client.programs()
        return {"pid": client.pid()}, programs, None
    except NoSupervisor:
        return None, {}, None
    except SupervisorError as error:
        return None, {}, str(error)


def _read_group(state: StateDirectory, info: ProcessInfo) -> Document | None:
    """Return what a parent says, with the memory and CPU time of the parent itself."""
    from sidelane.processes.usage import memory

    try:
        document = next(control.call(state.control_socket(info.name), {"command": "status"}, timeout=TIMEOUT), None)
    except (OSError, ValueError):
        return None
    if document is not None:
        document["parent_memory"] = memory(info.pid)
    return document


def _result(future: "Future[Document] | Future[Document | None] | None") -> Document | None:
    return future.result() if future is not None and future.done() and not future.cancelled() else None


def _group(info: ProcessInfo, answer: Document | None, now: float) -> Document:
    processes: Sequence[Document] = (answer or {}).get("processes", ())
    running = [each["running"] for each in processes if each.get("running") is not None]
    return {
        "name": info.name,
        "kind": (answer or {}).get("kind"),
        "state": _state(info, answer, now),
        "ready": sum(each["state"] == "ready" for each in processes),
        "target": (answer or {}).get("target"),
        "pinned": (answer or {}).get("pinned"),
        "autoscale": (answer or {}).get("autoscale"),
        "pid": info.pid or None,
        "uptime": None if info.ended or not info.started else max(0.0, now - info.started),
        "restarts": (answer or {}).get("restarts"),
        "cpu": sum(each["cpu"] or 0.0 for each in processes) if answer else None,
        "memory": sum(each["memory"] or 0 for each in processes) + answer["parent_memory"] if answer else None,
        "running": sum(running) if running else None,
        "error": _error(info, answer),
        "last_exit": (answer or {}).get("last_exit"),
        "processes": list(processes),
    }


STARTING_TIME = 5.0
"""Seconds in which a parent need not answer, because it starts."""


def _state(info: ProcessInfo, answer: Document | None, now: float) -> str:
    if answer is not None:
        return str(answer["state"])
    if info.state == "STOPPED":
        return "stopped" if info.started else "not started"
    if info.state == "EXITED":
        return ENDED_STATES.get(info.exit_status, "ended")  # type: ignore[call-overload, no-any-return]
    if info.state == "STOPPING":
        return "stopping"
    if info.ended or info.state == "BACKOFF":
        return "failed"
    return "starting" if now - info.started < STARTING_TIME else "no answer"


def _error(info: ProcessInfo, answer: Document | None) -> str | None:
    if answer is not None:
        errors = [f"{each['name']}: {each['error']}" for each in answer.get("processes", ()) if each.get("error")]
        return answer.get("error") or "; ".join(errors) or None
    if info.ended and info.state != "STOPPED":
        return f"its parent ended with exit status {info.exit_status}; see `sidelane logs {info.name}`"
    return None


def _all_well(groups: Sequence[Document]) -> bool:
    """Return whether a group is ready, and no other has an error. One that somebody stopped has none."""
    states = [each["state"] for each in groups if each["state"] not in {"stopped", "not started"}]
    return bool(states) and all(state in {"ready", "restarting", "scaling"} for state in states)
