"""Progress, told while a job runs: now and then, and only the newest."""

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
"""Seconds between two callbacks of one job's progress to one receiver, at least."""

logger = logging.getLogger(__name__)


class ProgressNotifier:
    """Submits the jobs that tell of progress, at most one a second for each receiver of a job.

    What is submitted reads the newest progress when it begins, so it tells all that came before. Where one has begun already,
    another is submitted after it.
    """

    def __init__(self, services: Services, delivering: CallbackDelivery) -> None:
        self._services = services
        self._delivering = delivering
        self._news: set[str] = set()
        self._telling: dict[str, asyncio.Task[None]] = {}

    def on_progress(self, job: JobRecord) -> None:
        """Hear that the log of a job has got progress."""
        if not any(True for _ in self._specs(job)):
            return
        self._news.add(job.id)
        if job.id not in self._telling:
            self._telling[job.id] = asyncio.get_running_loop().create_task(self._tell(job))

    async def close(self) -> None:
        """Tell nothing any more: the ends of the jobs tell all."""
        telling = list(self._telling.values())
        for task in telling:
            task.cancel()
        if telling:
            await asyncio.wait(telling)

    async def _tell(self, job: JobRecord) -> None:
        try:
            while job.id in self._news:
                self._news.discard(job.id)
                if not await self._submitted(job):
                    self._news.add(job.id)
                await asyncio.sleep(MIN_INTERVAL)
        except SidelaneError as error:
            logger.warning("the progress of job %s was not told: %s", job.id, error)
        finally:
            self._news.discard(job.id)
            del self._telling[job.id]

    async def _submitted(self, job: JobRecord) -> bool:
        """Submit what tells of it. False where one was there that may have read what came before."""
        answers = [await self._services.client.submit_spec(spec) for spec in self._specs(job)]
        return all(answer.created or answer.record.state is State.QUEUED for answer in answers)

    def _specs(self, job: JobRecord) -> Iterator[JobSpec]:
        """Give what tells the receivers that want to know how far the job is."""
        end, progress = self._delivering.end, self._delivering.progress
        for place, follow_up in enumerate(job.spec.follow_ups):
            template = follow_up.spec
            if template.task != CALLBACK_TASK:
                continue
            try:
                wanted = end.decode_arguments(template.arguments, template.version)
            except ArgumentsError:  # a newer edition made it, and will tell the end
                continue
            if wanted["progress"] and template.user is not None:
                task = progress.options(user=template.user, unique=f"{job.id}.{place}")
                spec = task.call(wanted["to"], wanted["body"]).spec(parent=job.id, trace=job.spec.trace)
                yield replace(spec, follow_ups=())  # that the newest was not told is nobody's dead letter
