"""Monitor: evaluates findings in the background, so that they have a beginning, and alerts are sent.

Every API process and worker runs a monitor. Each looks at the time of the last evaluation, and only evaluates if no other process
has done so for a while. The change of the value that they share counts for one of them only.
"""

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from sidelane.admin.findings.alerts import AlertSender, Changes, after_try, changes, log_error, with_ends, with_receiver
from sidelane.admin.findings.evaluation import Attention
from sidelane.admin.findings.memory import MEMORY, Memory, load_memory, save_memory
from sidelane.model.errors import StoreError
from sidelane.model.ids import new_nonce
from sidelane.model.settings import Settings
from sidelane.model.shared_state import VersionedValue
from sidelane.outage import RetryUntilAvailable
from sidelane.stores.contract import Store

INTERVAL = 4.0
"""Seconds between two evaluations."""

JITTER = 0.2
"""Part of the interval by which it varies at random, so that processes look at different times."""

TIMEOUT_WITHOUT_ALERTS = 3.0
"""Intervals that a process without an address for alerts waits, so that processes with one evaluate."""

SENDING_TIMEOUT = 30.0
"""Seconds after which a process that sends an alert counts as dead. No message takes that long."""

STOP_GRACE = 3.0
"""Seconds that a stopping process waits for an evaluation in progress."""

logger = logging.getLogger(__name__)


class AttentionMonitor:
    """Evaluates the findings of one store, and sends alerts if the settings have an address."""

    def __init__(self, store: Store, settings: Settings, *, interval: float = INTERVAL) -> None:
        self._store = store
        self._attention = Attention(store)
        self._sender = AlertSender(settings) if settings.alert_url else None
        self._interval = interval
        self._version = ""  # of the last evaluation that this process knows
        self._changed = time.monotonic()  # when this process first saw it
        self._retry = RetryUntilAvailable("evaluate findings", who="process")
        self._broken = False  # whether the last evaluation had an unexpected error, which is logged
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Work until stopped."""
        while not await self._stops_within(self._interval * random.uniform(1 - JITTER, 1 + JITTER)):
            try:
                await self._look()
            except StoreError as error:
                self._retry.failed(error)
            except Exception:  # a finding must never stop a worker
                if not self._broken:  # else the log would have a traceback every few seconds
                    logger.exception("findings could not be evaluated")
                self._broken = True
            else:
                self._broken = False
                self._retry.recovered()

    def stop(self) -> None:
        """End `run` after the evaluation in progress."""
        self._stopping.set()

    async def close(self) -> None:
        """Close the connections of alerts."""
        if self._sender is not None:
            await self._sender.close()

    async def _look(self) -> None:
        """Evaluate, unless another process has evaluated since this one looked last."""
        (value,) = await self._store.read_values([MEMORY])
        if value is not None and value.version != self._version:
            self._known(value)
        elif value is None or time.monotonic() - self._changed >= self._timeout(load_memory(value)):
            await self._evaluate()

    def _timeout(self, memory: Memory) -> float:
        """Return for how many seconds no other process must have evaluated before this one does."""
        if memory.alerts.sending:
            return SENDING_TIMEOUT
        return self._interval * ((1 - 2 * JITTER) if self._sender is not None else TIMEOUT_WITHOUT_ALERTS)

    async def _evaluate(self) -> None:
        evaluation = await self._attention.evaluation()
        memory, replaces = evaluation.memory, evaluation.replaces
        if self._sender is None:
            memory = replace(memory, alerts=replace(memory.alerts, error=""))
        else:
            state = with_receiver(memory.alerts, self._sender.receiver)
            memory = replace(memory, alerts=with_ends(state, evaluation.findings, evaluation.now))
            unsent = changes(memory, evaluation.findings, evaluation.now, self._sender.after)
            if unsent and evaluation.now >= state.retry_at:
                claimed = replace(memory, alerts=replace(memory.alerts, sending=state.sending or new_nonce()))
                replaces = await save_memory(self._store, claimed, replaces)
                if replaces is None:  # another process sends it
                    return
                memory = await self._send(self._sender, claimed, unsent, evaluation.now)
        saved = await save_memory(self._store, memory, replaces)
        if saved is not None:
            self._known(saved)

    async def _send(self, sender: AlertSender, memory: Memory, unsent: Changes, now: float) -> Memory:
        """Send one message, and return what to remember afterwards."""
        error = await sender.send(memory.alerts.sending, unsent, now)
        log_error(memory.alerts.error, error)
        return replace(memory, alerts=after_try(memory.alerts, unsent, error, now))

    def _known(self, value: VersionedValue) -> None:
        self._version, self._changed = value.version, time.monotonic()

    async def _stops_within(self, seconds: float) -> bool:
        try:
            await asyncio.wait_for(self._stopping.wait(), seconds)
        except TimeoutError:
            return False
        return True


@asynccontextmanager
async def monitoring(store: Store, settings: Settings) -> AsyncIterator[None]:
    """Evaluate findings in the background within the block."""
    monitor = AttentionMonitor(store, settings)
    running = asyncio.create_task(monitor.run())
    try:
        yield
    finally:
        monitor.stop()
        await asyncio.wait([running], timeout=STOP_GRACE)
        running.cancel()
        await asyncio.wait([running])
        await monitor.close()
