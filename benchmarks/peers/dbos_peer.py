# /// script
# requires-python = ">=3.11"
# dependencies = ["dbos==3.4.0"]
# ///
"""DBOS on SQLite, its default database; its docs recommend PostgreSQL for production."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import contest
from dbos import DBOS, DBOSClient, DBOSConfig

ADDRESS = f"sqlite:///{contest.URL}"
CONFIG: DBOSConfig = {"name": "bench", "system_database_url": ADDRESS, "run_admin_server": False, "log_level": "ERROR"}
QUEUE = "bench"
POLL = 0.05

for task in (contest.noop, contest.pause, contest.hold):
    DBOS.workflow(name=task.__name__)(task)


async def serve(slots: int) -> None:
    """Run a worker: an application with the workflows that consumes the queue."""
    DBOS(
        config={**CONFIG, "executor_id": f"worker-{os.getpid()}"}
    )  # each process has its own executor id, as in a fleet
    DBOS.launch()
    await DBOS.register_queue_async(QUEUE, worker_concurrency=slots, polling_interval_sec=POLL)
    await asyncio.Event().wait()


def prepare() -> None:
    """Create the tables, because a client does not."""
    DBOS(config=CONFIG)
    DBOS.launch()
    DBOS.destroy()


class DbosPeer(contest.Peer):
    about = contest.About(
        packages=["dbos", "sqlalchemy"],
        configuration=f"a queue with `worker_concurrency`, polled every {POLL} s (default 1)",
        source="docs.dbos.dev/python/reference/queues",
        batch="none: `asyncio.gather` of `enqueue_async`",
        recovery="when the same executor starts again; on another, through Conductor or the admin API",
        durability="SQLite, rollback journal, synchronous=FULL; a workflow and each of its steps is checkpointed",
    )

    def worker(self, slots: int) -> list[str]:
        return ["dbos_peer.py", "serve", str(slots)]

    def open(self) -> None:
        subprocess.run([sys.executable, "dbos_peer.py", "prepare"], check=True, stdout=subprocess.DEVNULL)
        self.client = DBOSClient(system_database_url=ADDRESS)

    def close(self) -> None:
        self.client.destroy()

    async def submit(self, task: str, number: int, text: str) -> str:
        options: Any = {"queue_name": QUEUE, "workflow_name": task}
        handle: Any = await self.client.enqueue_async(options, number, text)
        return str(handle.workflow_id)

    async def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        return await asyncio.gather(*(self.submit(task, number, text) for number in numbers))

    async def results(self, ids: Sequence[str]) -> list[Any]:
        found = await self.client.list_workflows_async(workflow_ids=list(ids), load_input=False)
        results = {each.workflow_id: each.output for each in found if each.status == "SUCCESS"}
        return [results.get(each, contest.MISSING) for each in ids]


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        asyncio.run(serve(int(sys.argv[2])))
    elif sys.argv[1] == "prepare":
        prepare()
    else:
        contest.main(DbosPeer())
