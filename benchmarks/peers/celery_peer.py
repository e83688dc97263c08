# /// script
# requires-python = ">=3.11"
# dependencies = ["celery[redis,gevent]==5.7.0", "redis[hiredis]==8.1.0"]
# ///
"""Celery on Redis, with results, tuned for many short tasks as in its optimizing guide."""

from collections.abc import Sequence
from typing import Any

import contest
from celery import Celery, group

app = Celery("bench", broker=contest.URL, backend=contest.URL)
app.conf.update(
    task_acks_late=True,  # else a killed worker loses its jobs
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=64,
    broker_pool_limit=contest.THREADS,
    broker_connection_retry_on_startup=True,
)
TASKS = {
    "noop": app.task(name="noop")(contest.noop_sync),
    "pause": app.task(name="pause")(contest.pause_sync),
    "hold": app.task(name="hold")(contest.hold_sync),
}


class CeleryPeer(contest.Peer):
    about = contest.About(
        packages=["celery", "kombu", "redis", "hiredis", "gevent"],
        configuration="`acks_late`; prefetch multiplier 64; no gossip, mingle or heartbeat; one slot: `--pool solo`; many: gevent",
        source="docs.celeryq.dev: userguide/optimizing, userguide/concurrency",
        batch="`group(...).apply_async()`",
        recovery="`visibility_timeout` of 1 hour",
    )

    def worker(self, slots: int) -> list[str]:
        pool = ["--pool", "solo"] if slots == 1 else ["--pool", "gevent", "--concurrency", str(slots)]
        quiet = ["--loglevel", "WARNING", "--without-gossip", "--without-mingle", "--without-heartbeat"]
        return ["-m", "celery", "-A", "celery_peer", "worker", *pool, *quiet]

    def open(self) -> None:
        app.connection_for_write().ensure_connection()

    def close(self) -> None:
        app.close()

    def submit(self, task: str, number: int, text: str) -> str:
        return str(TASKS[task].delay(number, text).id)

    def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        if not numbers:
            return []
        return [each.id for each in group(TASKS[task].s(number, text) for number in numbers).apply_async()]

    def results(self, ids: Sequence[str]) -> list[Any]:
        results = [app.AsyncResult(each) for each in ids]
        return [each.result if each.successful() else contest.MISSING for each in results]


if __name__ == "__main__":
    contest.main(CeleryPeer())
