# /// script
# requires-python = ">=3.11"
# dependencies = ["dramatiq[redis,gevent]==2.2.1", "redis[hiredis]==8.1.0"]
# ///
"""Dramatiq on Redis, with results."""

from collections.abc import Sequence
from typing import Any

import contest
import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import ResultMissing, Results
from dramatiq.results.backends import RedisBackend

backend = RedisBackend(url=contest.URL)
broker = RedisBroker(url=contest.URL)
broker.add_middleware(Results(backend=backend, store_results=True, result_ttl=3_600_000))
dramatiq.set_broker(broker)
TASKS = {
    "noop": dramatiq.actor(actor_name="noop")(contest.noop_sync),
    "pause": dramatiq.actor(actor_name="pause")(contest.pause_sync),
    "hold": dramatiq.actor(actor_name="hold")(contest.hold_sync),
}


class DramatiqPeer(contest.Peer):
    about = contest.About(
        packages=["dramatiq", "redis", "hiredis"],
        configuration="`--processes 1`, `--threads` (default 8); results kept an hour; hiredis",
        source="dramatiq.io/guide.html, dramatiq.io/advanced.html",
        batch="`group(...).run()`",
        recovery="heartbeat of 60 s; maintenance in 1 of 1,000 commands gives the messages back",
    )

    def worker(self, slots: int) -> list[str]:
        return ["-m", "dramatiq", "dramatiq_peer", "--processes", "1", "--threads", str(slots)]

    def open(self) -> None:
        broker.client.ping()

    def close(self) -> None:
        broker.close()

    def submit(self, task: str, number: int, text: str) -> str:
        return f"{task}:{TASKS[task].send(number, text).message_id}"

    def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        group = dramatiq.group([TASKS[task].message(number, text) for number in numbers])
        group.run()
        return [f"{task}:{each.message_id}" for each in group.children]

    def results(self, ids: Sequence[str]) -> list[Any]:
        return [self._result(*each.split(":")) for each in ids]

    def _result(self, task: str, message_id: str) -> Any:
        message = TASKS[task].message().copy(message_id=message_id)
        try:
            return backend.get_result(message)
        except ResultMissing:
            return contest.MISSING


if __name__ == "__main__":
    contest.main(DramatiqPeer())
