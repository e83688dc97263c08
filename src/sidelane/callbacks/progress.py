"""Progress callbacks: reported while a job runs, at limited intervals, and only the newest."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace

from sidelane.callbacks.delivery import CallbackDelivery
from sidelane.model.errors import ArgumentsError, SidelaneError
from sidelane.model.job import JobRecord, JobSpec, State
from sidelane.services import Services
from sidelane.tasks.internal_queues import CALLBACK_TASK

MIN_INTERVAL = 1.0
"""Minimum seconds between two progress callbacks of one job to one receiver."""

logger = logging.getLogger(__name__)


class ProgressNotifier:
    """Submits progress callbacks, at most one a second for each receiver of a job.

    A progress callback reads the newest progress when it starts, so it includes all earlier progress. If a callback has already
    started, another callback is submitted after it.
    """

    def __init__(self, services: Services, delivery: CallbackDelivery) -> None:
        self._services = services
        self._delivery = delivery
        self._pending: set[str] = set()
        self._notifying: dict[str, asyncio.Task[None]] = {}

    def on_progress(self, job: JobRecord) -> None:
        """Submit progress callbacks of a job soon, because its log has new progress."""
        if not any(True for _ in self._specs(job)):
            return
        self._pending.add(job.id)
        if job.id not in self._notifying:
            self._notifying[job.id] = asyncio.get_running_loop().create_task(self._notify(job))

    async def close(self) -> None:
        """Stop the submits. The callbacks of the jobs' ends are submitted in any case."""
        notifying = list(self._notifying.values())
        for task in notifying:
            task.cancel()
        if notifying:
            await asyncio.wait(notifying)

    async def _notify(self, job: JobRecord) -> None:
        try:
            while job.id in self._pending:
                self._pending.discard(job.id)
                if not await self._submit(job):
                    self._pending.add(job.id)
                await asyncio.sleep(MIN_INTERVAL)
        except SidelaneError as error:
            logger.warning("the progress of job %s was not reported: %s", job.id, error)
        finally:
            self._pending.discard(job.id)
            del self._notifying[job.id]

    async def _submit(self, job: JobRecord) -> bool:
        """Submit progress callbacks.

        Return False if a callback has already started, because it may have missed the newest progress.
        """
        answers = [await self._services.client.submit_spec(spec) for spec in self._specs(job)]
        return all(answer.created or answer.record.state is State.QUEUED for answer in answers)

    def _specs(self, job: JobRecord) -> Iterator[JobSpec]:
        """Yield a callback for each receiver that wants progress."""
        end, progress = self._delivery.end, self._delivery.progress
        for index, follow_up in enumerate(job.spec.follow_ups):
            template = follow_up.spec
            if template.task != CALLBACK_TASK:
                continue
            try:
                wanted = end.decode_arguments(template.arguments, template.version)
            except ArgumentsError:  # a newer release created it, and reports the end
                continue
            if wanted["progress"] and template.user is not None:
                task = progress.options(user=template.user, unique=f"{job.id}.{index}")
                spec = task.call(wanted["to"], wanted["body"]).spec(parent=job.id, trace=job.spec.trace)
                yield replace(spec, follow_ups=())  # a failed progress callback is not a dead letter
