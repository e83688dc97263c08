"""Scenario of one test: processes on one store, and the store as the test's own process sees it."""

import json
from contextlib import AsyncExitStack
from typing import Any

from httpx2 import AsyncClient

from sidelane.model.job import FINISHED, JobRecord, JobSpec, Submission
from sidelane.stores.contract import Store
from sidelane.tasks.task import Call
from tests.system.processes import SHOP, Processes, RunningProcess, port_of
from tests.system.waiting import until

START_TIMEOUT = 20.0


class ProcessScenario:
    """What tests do with the store and the processes on it. The test's own process does not sweep."""

    def __init__(self, processes: Processes, store: Store, clients: AsyncExitStack) -> None:
        self.processes = processes
        self.store = store
        self._clients = clients

    async def worker(self, name: str, lane: str = SHOP, **environment: str) -> RunningProcess:
        """Start a worker and wait for its first heartbeat."""
        started = self.processes.worker(name, lane, **environment)

        async def registered() -> bool:
            assert not started.exited, f"worker {name} ended"
            return any(worker.pid == started.pid for worker in await self.store.workers())

        await until(registered, f"worker {name} is there", within=START_TIMEOUT)
        return started

    async def api(
        self, *, under: tuple[str, ...] = (), loop: str = "asyncio", port: int = 0
    ) -> tuple[RunningProcess, AsyncClient]:
        """Start the HTTP service, wait until it listens, and return it with a client for it."""
        api = self.processes.api(under=under, loop=loop, port=port)

        def listening() -> int | None:
            assert not api.exited, "the service ended"
            return port_of(api)

        number = await until(listening, "the service listens", within=START_TIMEOUT)
        client = AsyncClient(base_url=f"http://127.0.0.1:{number}", timeout=20.0, trust_env=False)
        return api, await self._clients.enter_async_context(client)

    async def submit(self, *calls: Call[Any]) -> list[str]:
        """Submit calls straight to the store and return the ids of their jobs."""
        return await self.submit_specs(*(call.spec() for call in calls))

    async def submit_specs(self, *specs: JobSpec) -> list[str]:
        """Submit specs, e.g. those of another version of the shop, and return the ids of their jobs."""
        for answer in await self.store.submit(specs):
            assert isinstance(answer, Submission)
            assert answer.created
        return [spec.id for spec in specs]

    async def record(self, job: str) -> JobRecord:
        """Look a job up."""
        (found,) = await self.records([job])
        return found

    async def records(self, jobs: list[str]) -> list[JobRecord]:
        """Look jobs up, every one of which must be there."""
        found = await self.store.get(jobs)
        lost = [job for job, record in zip(jobs, found, strict=True) if not isinstance(record, JobRecord)]
        assert not lost, f"{len(lost)} of {len(jobs)} jobs are lost: {lost[:5]}"
        return [record for record in found if isinstance(record, JobRecord)]

    async def wait_all_finished(self, jobs: list[str], *, within: float = 15.0) -> list[JobRecord]:
        """Wait until all of these jobs have finished and return their records."""

        async def all_finished() -> bool:
            return all(record.state in FINISHED for record in await self.records(jobs))

        await until(all_finished, f"{len(jobs)} jobs finish", within=within)
        return await self.records(jobs)

    async def wait_finished(self, job: str, *, within: float = 15.0) -> JobRecord:
        """Wait until a job has finished and return its record."""
        (record,) = await self.wait_all_finished([job], within=within)
        return record

    async def wait_started(self, job: str, attempt: int = 1, *, within: float = 10.0) -> dict[str, Any]:
        """Wait until a task has noted the start of this attempt, and return the note."""

        def start_note() -> dict[str, Any]:
            notes = self.processes.notes("start", job)
            return next((note for note in notes if note["attempt"] == attempt), {})

        return await until(start_note, f"attempt {attempt} begins", within=within)

    async def event_log(self, job: str) -> list[tuple[str, Any]]:
        """Return the name and data of each event of a job's log. The numbers of a log have no holes."""
        reading = await self.store.read(job, limit=100_000)
        assert reading is not None
        numbers = [event.number for event in reading.events]
        assert numbers == list(range(1, len(numbers) + 1))
        return [(event.name, json.loads(event.data)) for event in reading.events]


def text_by_attempt(events: list[tuple[str, Any]]) -> list[str]:
    """Return the text of each attempt in a log."""
    texts = [""]
    for name, data in events:
        if name == "attempt":
            texts.append("")
        elif name == "token":
            texts[-1] += data["text"]
    return texts
