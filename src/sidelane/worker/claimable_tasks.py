"""Claimable tasks: those that a worker knows and that operators have not paused."""

from collections.abc import Callable, Mapping, Sequence

from sidelane.tasks.registry import Registry
from sidelane.worker.fetcher import JobFetcher
from sidelane.worker.task_channel import TaskClient


class ClaimableTasks:
    """The tasks whose jobs a worker may start. There are none before the pauses have been read for the first time.

    `known` returns the versions of the tasks that the worker has, by name.
    """

    def __init__(self, client: TaskClient, registry: Registry, known: Callable[[], Mapping[str, int]]) -> None:
        self._client = client
        self._registry = registry
        self._known = known
        self._paused: frozenset[str] | None = None

    def versions(self) -> dict[str, int]:
        """Return the versions of the claimable tasks by name. A pause of a task also covers its former names."""
        paused, tasks = self._paused, self._registry.tasks
        if paused is None:
            return {}
        return {name: version for name, version in self._known().items() if not {name, tasks[name].name} & paused}

    async def run(self, fetchers: Sequence[JobFetcher]) -> None:
        """Follow the pauses until cancelled, and let the fetchers claim again after each change."""

        def on_read(names: frozenset[str]) -> None:
            if names != self._paused:
                self._paused = names
                for fetcher in fetchers:
                    fetcher.on_tasks_changed()

        await self._client.follow_paused_tasks(on_read)
