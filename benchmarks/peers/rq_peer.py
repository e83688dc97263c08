# /// script
# requires-python = ">=3.11"
# dependencies = ["rq==3.0.0", "redis[hiredis]==8.1.0"]
# ///
"""RQ as in its docs: one process runs one job at a time."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import contest
from redis import Redis
from rq import Queue
from rq.job import Job

TASKS = {"noop": contest.noop_sync, "pause": contest.pause_sync, "hold": contest.hold_sync}


class RqPeer(contest.Peer):
    about = contest.About(
        packages=["rq", "redis", "hiredis"],
        configuration="`SimpleWorker`, which does not fork for each job; many slots: `rq worker-pool`; timeout 900 s; hiredis",
        source="python-rq.org/docs/workers",
        batch="`queue.enqueue_many`",
        recovery="maintenance every 10 minutes finds the abandoned job; it runs again only with `Retry`",
    )

    def worker(self, slots: int) -> list[str]:
        rq = str(Path(sys.executable).parent / "rq")
        options = ["--url", contest.URL, "--worker-class", "rq.worker.SimpleWorker", "bench"]
        if slots == 1:
            return [rq, "worker", "--logging_level", "WARNING", *options]
        return [rq, "worker-pool", "--num-workers", str(slots), "--logging-level", "WARNING", *options]

    def open(self) -> None:
        self.redis = Redis.from_url(contest.URL, max_connections=200)
        self.queue = Queue("bench", connection=self.redis, default_timeout=900)

    def close(self) -> None:
        self.redis.close()

    def submit(self, task: str, number: int, text: str) -> str:
        return self.queue.enqueue(TASKS[task], number, text).id

    def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        if not numbers:
            self.redis.ping()
            return []
        jobs = [Queue.prepare_data(TASKS[task], (number, text), timeout=900) for number in numbers]
        return [job.id for job in self.queue.enqueue_many(jobs)]

    def results(self, ids: Sequence[str]) -> list[Any]:
        jobs = Job.fetch_many(ids, connection=self.redis)
        return [job.return_value() if job and job.is_finished else contest.MISSING for job in jobs]


if __name__ == "__main__":
    contest.main(RqPeer())
