# /// script
# requires-python = ">=3.11"
# dependencies = ["huey==3.5.4"]
# ///
"""huey on SQLite, as in its docs; BENCH_SYNC=0 disables its sync."""

import os
import sqlite3
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import contest
from huey import SqliteHuey

SYNCED = os.environ.get("BENCH_SYNC") != "0"
huey = SqliteHuey("bench", filename=contest.URL, **({} if SYNCED else {"fsync": False}))
TASKS = {
    "noop": huey.task(name="noop")(contest.noop_sync),
    "pause": huey.task(name="pause")(contest.pause_sync),
    "hold": huey.task(name="hold")(contest.hold_sync),
}


class HueyPeer(contest.Peer):
    about = contest.About(
        packages=["huey"],
        configuration="`huey_consumer -k thread`, `-w` (default 1); journal_mode=wal, 8 MB cache: its defaults",
        source="huey.readthedocs.io: consumer, api#SqliteHuey",
        batch="none: one after the other",
        recovery="never: a job leaves the queue before it runs (at most once)",
        durability=(
            f"SQLite {sqlite3.sqlite_version}, write-ahead log, synchronous={'FULL' if SYNCED else 'OFF'}; "
            "at most once: the job that was running is lost in a crash"
        ),
    )

    def worker(self, slots: int) -> list[str]:
        consumer = str(Path(sys.executable).parent / "huey_consumer")
        return [consumer, "huey_peer.huey", "-k", "thread", "-w", str(slots), "-q"]

    def submit(self, task: str, number: int, text: str) -> str:
        return str(TASKS[task](number, text).id)

    def submit_batch(self, task: str, numbers: Sequence[int], text: str) -> list[str]:
        return [self.submit(task, number, text) for number in numbers]

    def results(self, ids: Sequence[str]) -> list[Any]:
        found = [huey.result(each, preserve=True) for each in ids]
        return [contest.MISSING if each is None else each for each in found]


if __name__ == "__main__":
    import huey_peer  # its tasks are named after the module that the consumer imports

    contest.main(huey_peer.HueyPeer())
