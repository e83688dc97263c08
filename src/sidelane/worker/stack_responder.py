"""Stack responder: answers operators' requests for the stacks of a worker's attempts, from the thread of its heartbeats."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import Protocol

from sidelane.model.errors import StoreError
from sidelane.model.shared_state import ValueChange, VersionedValue
from sidelane.model.stack import REQUEST_EXPIRY, STACK_SLOTS, Stack, StackRequest
from sidelane.stores.contract import Subscription, value_topic
from sidelane.worker.blocked_loop import RunningJob
from sidelane.worker.stack import LoopStacks

logger = logging.getLogger(__name__)


class RequestSource(Protocol):
    """The part of a job source that has the requests; see `stores.contract.SharedState`."""

    async def read_values(self, names: Sequence[str]) -> list[VersionedValue | None]: ...
    async def set_value(self, change: ValueChange) -> bool: ...
    def watch(self, *topics: str) -> AbstractAsyncContextManager[Subscription]: ...


class StackResponder:
    """Answers requests for the jobs of one worker when the store notifies of them, and every `interval` seconds.

    Also deletes requests that have expired, whichever worker they are for.
    """

    def __init__(
        self,
        source: RequestSource,
        *,
        jobs: Callable[[], Sequence[RunningJob]],
        stacks: LoopStacks,
        worker: str,
        interval: float,
    ) -> None:
        self._source = source
        self._jobs = jobs
        self._stacks = stacks
        self._worker = worker
        self._interval = interval
        self._seen: dict[str, tuple[str, float]] = {}  # by slot: its version, and since when it has that version

    async def run(self) -> None:
        """Answer until cancelled."""
        while True:
            try:
                async with self._source.watch(*map(value_topic, STACK_SLOTS)) as changes:
                    while True:
                        await self._answer_all()
                        await changes.wait(self._interval)
            except StoreError as error:  # the heartbeats report it
                logger.debug("requests for stacks cannot be answered: %s", error)
            await asyncio.sleep(self._interval)

    async def _answer_all(self) -> None:
        for name, value in zip(STACK_SLOTS, await self._source.read_values(STACK_SLOTS), strict=True):
            if value is None:
                self._seen.pop(name, None)
            elif self._is_expired(value):
                await self._source.set_value(ValueChange(name=name, text=None, replaces=value.version))
            else:
                try:
                    await self._answer(value)
                except StoreError:
                    raise
                except Exception:  # of another release, or of the user's objects; the other requests need answers
                    logger.exception("a request for a stack cannot be answered")

    def _is_expired(self, value: VersionedValue) -> bool:
        """Return whether this worker has seen this version for too long. So no two clocks are compared."""
        version, since = self._seen.get(value.name, ("", 0.0))
        if version != value.version:
            since = time.monotonic()
            self._seen[value.name] = value.version, since
        return time.monotonic() - since > REQUEST_EXPIRY

    async def _answer(self, value: VersionedValue) -> None:
        request = StackRequest.load(value.text)
        attempt = request.job_id, request.attempt
        job = next((each for each in self._jobs() if (each.lease.job_id, each.lease.attempt) == attempt), None)
        if job is None or request.stack is not None:
            return
        stack = await asyncio.to_thread(self._read, job)  # it may wait, and read files
        answer = replace(request, worker=self._worker, stack=stack)
        await self._source.set_value(ValueChange(name=value.name, text=answer.dump(), replaces=value.version))

    def _read(self, job: RunningJob) -> Stack:
        """Return what an attempt does."""
        if job.child is None:
            return self._stacks.read(job.body, job.channel)
        found = job.child.read(job.lease.job_id, job.lease.attempt)
        if found is None:
            return Stack(
                f"runs in child process {job.child.pid}, which does not answer: it ends, or runs code outside of Python"
            )
        return Stack(f"runs in child process {job.child.pid}, where it {found.activity}", found.text)
