"""Baseline: the transactions of the SQLite store in a plain loop, without threads or event loop."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sidelane.model.ids import new_id, new_nonce
from sidelane.model.job import JobSpec
from sidelane.model.outcome import AttemptResult, Succeeded
from sidelane.model.worker import ClaimRequest
from sidelane.stores.sqlite.connection import Database
from sidelane.stores.sqlite.sql import Transaction
from sidelane.stores.sqlite.verbs.claim import claim
from sidelane.stores.sqlite.verbs.finish import finish
from sidelane.stores.sqlite.verbs.submit import submit

BATCH = 100
"""Jobs per transaction."""


def spec(number: int, users: int = 1) -> JobSpec:
    """Return a job of one of `users` users, or without a user if `users` is 1."""
    user = f"u{number % users}" if users > 1 else None
    return JobSpec(id=new_id(), task="noop", arguments='{"number":1}', user=user)


def specs(count: int, users: int = 1) -> Iterator[list[JobSpec]]:
    for first in range(0, count, BATCH):
        yield [spec(number, users) for number in range(first, min(first + BATCH, count))]


def request(limit: int = BATCH) -> ClaimRequest:
    return ClaimRequest(
        request=new_nonce(), worker="bench", queues={"default": limit}, tasks={"noop": 1}, limit=limit, lease=60.0
    )


class Bare:
    """A connection to its own database. `synced`: every commit is synced to the disk."""

    def __init__(self, path: Path, *, synced: bool = True) -> None:
        self.connection = Database(str(path)).open_writer()
        self.connection.execute(f"PRAGMA synchronous = {'FULL' if synced else 'NORMAL'}")

    @contextmanager
    def transaction(self) -> Iterator[Transaction]:
        self.connection.execute("BEGIN IMMEDIATE")
        yield Transaction(self.connection, time.time())
        self.connection.execute("COMMIT")

    def submit(self, count: int, users: int = 1) -> None:
        """Submit jobs."""
        for batch in specs(count, users):
            with self.transaction() as tx:
                submit(tx, batch)

    def drain(self) -> None:
        """Run all jobs: each transaction finishes the jobs of the last claim and claims more."""
        reports: list[AttemptResult] = []
        while True:
            with self.transaction() as tx:
                finish(tx, reports)
                claimed = claim(tx, request()).jobs
            if not claimed:
                return
            reports = [AttemptResult(lease=each.lease, outcome=Succeeded("null")) for each in claimed]

    def claim_only(self) -> float:
        """Claim one batch and return the seconds it took."""
        began = time.perf_counter()
        with self.transaction() as tx:
            assert len(claim(tx, request()).jobs) == BATCH
        return time.perf_counter() - began

    def close(self) -> None:
        self.connection.close()
