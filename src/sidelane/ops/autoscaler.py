"""Autoscaler: the process of a service that decides how many processes its worker groups have.

It reads the load from the store, and tells each group over its control socket. The group keeps the last decision, and a pinned
number. If the store or the autoscaler is away, groups keep their numbers.
"""

import asyncio
import logging
import socket
import time
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from sidelane.admin.scaling import LoadReader, Scaling, StoreLoad, record_scaling
from sidelane.model.errors import StoreError
from sidelane.ops.state import StateDirectory
from sidelane.ops.up import CONTROL_TIMEOUT, control_status
from sidelane.outage import RetryUntilAvailable
from sidelane.processes import control
from sidelane.sizing.scaling import DOWN_WINDOW, Bounds, Decision, DownWindow
from sidelane.stores.contract import Store

INTERVAL = 2.0
"""Seconds between two decisions."""

logger = logging.getLogger(__name__)


class Autoscaler:
    """Decides about the groups of one service, which have these bounds."""

    def __init__(self, state: StateDirectory, bounds: Mapping[str, Bounds], store: Store) -> None:
        self._state = state
        self._bounds = bounds
        self._store = store
        self._reader = LoadReader(store)
        self._windows = {name: DownWindow() for name in bounds}
        self._reading = RetryUntilAvailable("read the load", who="autoscaler")

    async def run(self) -> None:
        """Decide every `INTERVAL` seconds until cancelled."""
        while True:
            load = await self._read()
            for name in self._bounds:
                document = await asyncio.to_thread(control_status, self._state, name)
                if document is not None:  # else the group does not run
                    await self._scale(name, document, load)
            await asyncio.sleep(INTERVAL)

    async def _read(self) -> StoreLoad | None:
        try:
            load = await self._reader.read()
        except StoreError as error:
            self._reading.failed(error)
            return None
        self._reading.recovered()
        return load

    async def _scale(self, name: str, document: Mapping[str, Any], load: StoreLoad | None) -> None:
        """Decide about one group, tell it, and record a change."""
        bounds, window = self._bounds[name], self._windows[name]
        at, current = time.monotonic(), int(document["target"])
        decision = None if load is None else load.decide(_processes(document), bounds)
        if document["pinned"]:
            self._windows[name], processes = DownWindow(), current
        elif decision is None:
            window.hold(at, current)
            processes = bounds.clamp(current)
        else:
            processes = bounds.clamp(window.number(at, decision.wanted, current))
        reason = _reason(load, decision, processes, current)
        answer = await asyncio.to_thread(self._tell, name, processes, _report(bounds, decision, reason))
        if answer is not None and answer["target"] == processes != current:
            await self._record(name, current, processes, reason, decision)

    def _tell(self, name: str, processes: int, report: Mapping[str, Any]) -> dict[str, Any] | None:
        """Send a decision to a group, and return its state, or None if it does not answer."""
        request = {"command": "autoscale", "processes": processes, "report": report}
        try:
            return next(control.call(self._state.control_socket(name), request, timeout=CONTROL_TIMEOUT), None)
        except (OSError, ValueError):
            return None

    async def _record(self, name: str, before: int, after: int, reason: str, decision: Decision | None) -> None:
        logger.info("%s: %d processes instead of %d: %s", name, after, before, reason)
        capped_by = "" if decision is None else decision.capped_by
        try:
            await record_scaling(
                self._store, Scaling(0.0, socket.gethostname(), name, before, after, reason, capped_by)
            )
        except StoreError as error:
            logger.warning("this change is not in the journal: %s", error)


def _processes(document: Mapping[str, Any]) -> set[tuple[str, int]]:
    """Return the processes of a group that are not about to stop."""
    host = socket.gethostname()
    return {(host, each["pid"]) for each in document["processes"] if each["state"] != "draining"}


def _reason(load: StoreLoad | None, decision: Decision | None, processes: int, current: int) -> str:
    if load is None:
        return "the store does not answer, so the number stays"
    if decision is None:
        return "none of its processes is a live worker of the store yet"
    if processes < current:
        enough = "1 process was" if processes == 1 else f"{processes} processes were"
        return f"{enough} enough for {DOWN_WINDOW / 60:g} min"
    return decision.reason


def _report(bounds: Bounds, decision: Decision | None, reason: str) -> dict[str, Any]:
    """Return what `sidelane status` shows about a decision."""
    wanted = {"wanted": None, "busy": None, "predicted_wait": None, "capped_by": ""}
    return {
        "least": bounds.least, "most": bounds.most, **(wanted if decision is None else asdict(decision)), "reason": reason,
        "at": time.time(),
    }  # fmt: skip
