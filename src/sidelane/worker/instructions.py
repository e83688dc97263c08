"""Operator instructions: which tasks a worker leaves out, whether it takes jobs at all, and whether it makes place for another."""

import logging
from collections.abc import Callable, Mapping, Sequence

from sidelane.model.worker_request import Instructions, WorkerAction
from sidelane.tasks.registry import Registry
from sidelane.worker.fetcher import JobFetcher
from sidelane.worker.isolation import IsolationWorkers
from sidelane.worker.task_channel import TaskClient

logger = logging.getLogger(__name__)


class OperatorInstructions:
    """Follows what operators want of one worker. It may start no job before the instructions have been read for the first time.

    `known` returns the versions of the tasks that the worker has, by name. `restart` begins a restart of its process. It is None if
    the process also runs something else.
    """

    def __init__(
        self,
        client: TaskClient,
        registry: Registry,
        known: Callable[[], Mapping[str, int]],
        isolation: IsolationWorkers,
        restart: Callable[[], None] | None,
    ) -> None:
        self.restart = restart
        self._client = client
        self._registry = registry
        self._known = known
        self._isolation = isolation
        self._read: Instructions | None = None

    @property
    def action(self) -> WorkerAction | None:
        """What the worker has been asked to do, and does."""
        request = None if self._read is None else self._read.request
        return None if request is None or self._is_impossible(request.action) else request.action

    @property
    def can_restart(self) -> bool:
        return self.restart is not None

    @property
    def drains(self) -> bool:
        return self.action is WorkerAction.DRAIN

    def claimable(self) -> dict[str, int]:
        """Return the versions of the tasks whose jobs the worker may start, by name. A pause covers former names, too."""
        if self._read is None or self.drains:
            return {}
        paused, tasks = self._read.paused_tasks, self._registry.tasks
        return {name: version for name, version in self._known().items() if not {name, tasks[name].name} & paused}

    async def run(self, worker_id: str, fetchers: Sequence[JobFetcher]) -> None:
        """Follow the instructions until cancelled, and let the fetchers claim again after each change."""

        def on_read(instructions: Instructions) -> None:
            if instructions != self._read:
                before, self._read = self.action, instructions
                if self.action != before:
                    self._begin(self.action)
                for fetcher in fetchers:
                    fetcher.on_tasks_changed()

        await self._client.follow_instructions(worker_id, on_read)

    def _begin(self, action: WorkerAction | None) -> None:
        logger.info("operators want this worker to %s", action or "take jobs again")
        if action is WorkerAction.DRAIN:
            self._isolation.drain()
        else:
            self._isolation.resume()
        if action is WorkerAction.RESTART and self.restart is not None:
            self.restart()

    def _is_impossible(self, action: WorkerAction) -> bool:
        return action is WorkerAction.RESTART and not self.can_restart
