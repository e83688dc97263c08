"""SQL statements, read from the `.sql` file of a module, and the transaction that runs them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw

from sidelane.model.history import Series
from sidelane.model.transition import MAX_TRANSITIONS
from sidelane.stores.contract import batch_topic, job_topic, queue_topic, value_topic, worker_topic

_NAME = re.compile(r"^-- :(\w+)\n", re.MULTILINE)


class Statements:
    """The statements of one `.sql` file, each an attribute.

    A statement begins with a line `-- :its_name` and ends before the next such line. The text above the first is a comment.
    `MAX_TRANSITIONS` stands for its value.
    """

    def __init__(self, path: Path) -> None:
        text = path.read_text(encoding="utf-8").replace("MAX_TRANSITIONS", str(MAX_TRANSITIONS))
        _header, *parts = _NAME.split(text)
        self._path = path
        self.__dict__.update({name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)})

    def __getattr__(self, name: str) -> str:
        raise AttributeError(f"{self._path.name} has no statement {name!r}")


def statements(module_file: str) -> Statements:
    """Return the statements of the `.sql` file that has the module's name."""
    return Statements(Path(module_file).with_suffix(".sql"))


@dataclass(slots=True)
class ChangeSet:
    """The changes of a transaction: topics to notify after the commit, and the work of `finalize.run_post_actions`."""

    jobs: set[str] = field(default_factory=set)
    batches: set[str] = field(default_factory=set)
    queues: set[str] = field(default_factory=set)
    workers: set[str] = field(default_factory=set)
    values: set[str] = field(default_factory=set)
    freed_limits: set[str] = field(default_factory=set)  # ids of limits that may have capacity for blocked jobs
    ended: list[str] = field(default_factory=list)  # ids of jobs
    cancelled_parents: bool = False  # whether cancelled jobs have children to cancel

    def counted_topics(self) -> list[str]:
        """Return the topics whose versions are counters in `topic_versions`."""
        return [*map(queue_topic, self.queues), *map(worker_topic, self.workers)]

    def topics(self) -> list[str]:
        topics = [*map(job_topic, self.jobs), *map(batch_topic, self.batches), *map(value_topic, self.values)]
        return [*topics, *self.counted_topics()]


class Transaction:
    """A connection within a transaction, with the time at which it began and what it has changed.

    All rows are fetched immediately, so that no cursor stays open over a write.
    """

    __slots__ = ("changes", "connection", "counts", "now", "series_ids", "user_amounts")

    def __init__(self, connection: apsw.Connection, now: float, series_ids: dict[Series, int] | None = None) -> None:
        self.connection = connection
        self.now = now  # seconds since 1970
        self.changes = ChangeSet()
        self.counts: dict[int, dict[int, int]] = {}  # what the present call counted, by series
        self.user_amounts: dict[tuple[int, str], int] = {}  # likewise, by amount and user
        self.series_ids: dict[Series, int] = {} if series_ids is None else series_ids

    def discard_counts(self) -> None:
        """Forget what the present call counted, because its changes were rolled back."""
        self.counts.clear()
        self.user_amounts.clear()
        self.series_ids.clear()

    def execute(self, sql: str, *values: object) -> int:
        """Run a statement that writes, and return how many rows it changed."""
        self.connection.execute(sql, values)
        return self.connection.changes()

    def execute_many(self, sql: str, rows: Sequence[tuple[object, ...]]) -> None:
        """Run a statement that writes once for each row of values."""
        self.connection.executemany(sql, rows)

    def all(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        return self.connection.execute(sql, values).fetchall()

    def all_of_each(self, sql: str, rows: Sequence[tuple[object, ...]]) -> list[tuple[Any, ...]]:
        """Return the rows that the statement finds for each row of values, concatenated."""
        return self.connection.executemany(sql, rows).fetchall()

    def first(self, sql: str, *values: object) -> tuple[Any, ...] | None:
        return self.connection.execute(sql, values).fetchone()

    def one(self, sql: str, *values: object) -> tuple[Any, ...]:
        """Return the only row, which this transaction has just read or written."""
        (found,) = self.connection.execute(sql, values).fetchall()
        return found

    def scalar(self, sql: str, *values: object) -> Any:
        """Return the first value of the first row, or None if there is no row."""
        found = self.connection.execute(sql, values).fetchone()
        return found[0] if found else None
