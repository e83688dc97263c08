"""Start-time fair queuing of ready jobs among the users of a queue and priority (rule 15; Goyal, Vin and Cheng, 1996).

Each user with ready jobs has a user queue with a start tag `S`. The user queue with the lowest tag is next. If tags are equal, the
queue with the older first job is next. A job taken from a user queue moves the virtual clock `V` to `S` if that is later. The new
start tag is `max(V, S + 1)`. Isolated jobs have separate user queues, so that no claim reads jobs that it may not take.
"""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Any, NamedTuple, Protocol

from sidelane.stores.sqlite.sql import Transaction, statements

SQL = statements(__file__)

_PAGE_SIZE = 100  # user queues that are read together
_MAX_PAGE_SIZE = 500  # jobs of one user queue that are read together


class UserQueue(NamedTuple):
    """The key of a user queue. `isolated` is whether its jobs are isolated."""

    queue: str
    isolated: int
    priority: int
    user: str


class Candidate(NamedTuple):
    """The columns of a ready job that decide whether a claim takes it."""

    seq: int
    task: str
    version: int
    expires_at: float | None
    limit_flags: int


class ClaimFilter(Protocol):
    """Decides which jobs a claim takes, and when it stops looking."""

    @property
    def exhausted(self) -> bool: ...

    def accepts(self, candidate: Candidate) -> bool: ...

    def take(self, candidate: Candidate) -> None: ...


def push(tx: Transaction, user_queue: UserQueue, seq: int) -> None:
    """Add a job that is ready now to its user queue."""
    tx.execute(SQL.push, *user_queue, seq, tx.now)


def remove(tx: Transaction, user_queue: UserQueue, seq: int) -> None:
    """Remove a job that is not ready any more and was not taken by a claim. The user's share does not change."""
    if tx.first(SQL.is_head, *user_queue, seq):
        tx.execute(SQL.update_head, *user_queue, None, tx.now)
        _drop_idle(tx, *user_queue[:3])


def remove_unready(tx: Transaction, user_queues: Iterable[UserQueue]) -> None:
    """Remove all jobs that are not ready any more from these user queues. The users' shares do not change."""
    affected = list(user_queues)
    tx.execute_many(SQL.update_head, [(*each, None, tx.now) for each in affected])
    for queue, isolated, priority in {each[:3] for each in affected}:
        _drop_idle(tx, queue, isolated, priority)


def priorities(tx: Transaction, queue: str, isolated: int) -> Iterator[int]:
    """Yield the priorities of a queue that have ready jobs, highest first."""
    priority: int | None = None
    while True:
        priority = tx.scalar(SQL.next_priority, queue, isolated, priority)
        if priority is None:
            return
        yield priority


class FairSelection:
    """The selection of jobs for one claim from one queue and priority. Nothing is written until `flush`."""

    def __init__(self, tx: Transaction, queue: str, isolated: int, priority: int) -> None:
        self._tx = tx
        self._key = (queue, isolated, priority)
        self._clock: int = tx.scalar(SQL.clock, *self._key) or 0
        self._start_tags: dict[str, int] = {}  # by user, of the user queues that a job was taken from

    def select(self, count: int, claim_filter: ClaimFilter) -> list[int]:
        """Select up to `count` jobs in fair order, and return their sequence numbers."""
        selected: list[int] = []
        heap: list[tuple[int, int, str]] = []  # start tag, the next job to read, user
        jobs_of: dict[str, _ReadyJobs] = {}
        user_queues = self._in_order(min(count, _PAGE_SIZE))
        upcoming = next(user_queues, None)
        while len(selected) < count and not claim_filter.exhausted:
            while upcoming is not None and (not heap or upcoming < heap[0]):
                heappush(heap, upcoming)
                jobs_of[upcoming[2]] = _ReadyJobs(self._tx, UserQueue(*self._key, upcoming[2]), upcoming[1] - 1)
                upcoming = next(user_queues, None)
            if not heap:
                break
            start_tag, seq, user = heappop(heap)
            jobs = jobs_of[user]
            is_only_user = not heap and upcoming is None
            candidate = jobs.first(claim_filter, count - len(selected) if is_only_user else 2)
            if candidate is None:
                continue
            if is_only_user or candidate.seq == seq:
                jobs.drop_first()
                claim_filter.take(candidate)
                selected.append(candidate.seq)
                self._clock = max(self._clock, start_tag)
                start_tag = self._start_tags[user] = max(self._clock, start_tag + 1)
                seq = candidate.seq + 1
            else:  # the filter rejected the head, so order this user by the age of the accepted job
                seq = candidate.seq
            heappush(heap, (start_tag, seq, user))
        return selected

    def flush(self) -> None:
        """Write the user queues. Call this after the selected jobs are no longer ready in the table."""
        if self._start_tags:
            heads = [(*self._key, *each, self._tx.now) for each in self._start_tags.items()]
            self._tx.execute_many(SQL.update_head, heads)
            self._tx.execute(SQL.set_clock, *self._key, self._clock)
            _drop_idle(self._tx, *self._key)

    def _in_order(self, page_size: int) -> Iterator[tuple[int, int, str]]:
        """Yield the user queues in order, read in pages so that no cursor stays open over a write."""
        start_tag, head = -1, -1
        while True:
            found: list[Any] = self._tx.all(SQL.in_order, *self._key, start_tag, head, page_size)
            yield from found
            if len(found) < page_size:
                return
            start_tag, head = found[-1][:2]


class _ReadyJobs:
    """The ready jobs of one user queue, oldest first, read in growing pages."""

    __slots__ = ("_after", "_at_end", "_page", "_page_size", "_tx", "_user_queue")

    def __init__(self, tx: Transaction, user_queue: UserQueue, after: int) -> None:
        self._tx = tx
        self._user_queue = user_queue
        self._after = after
        self._page: list[Candidate] = []  # the oldest last
        self._page_size = 1
        self._at_end = False

    def first(self, claim_filter: ClaimFilter, expected: int) -> Candidate | None:
        """Return the oldest job that the filter accepts, and skip the jobs before it. `expected` is how many jobs may be needed."""
        while True:
            while self._page:
                if claim_filter.accepts(self._page[-1]):
                    return self._page[-1]
                self._page.pop()
            if self._at_end or claim_filter.exhausted:
                return None
            self._read_page(expected)

    def drop_first(self) -> None:
        self._page.pop()

    def _read_page(self, expected: int) -> None:
        size = self._page_size = min(max(expected, 2 * self._page_size), _MAX_PAGE_SIZE)
        found = self._tx.all(SQL.ready_jobs, *self._user_queue, self._after, size)
        self._at_end = len(found) < size
        if found:
            self._after = found[-1][0]
            self._page = [Candidate._make(each) for each in reversed(found)]


def _drop_idle(tx: Transaction, queue: str, isolated: int, priority: int) -> None:
    """Delete user queues without ready jobs, as soon as they have no effect."""
    key = (queue, isolated, priority)
    if tx.first(SQL.has_ready_jobs, *key):
        tx.execute(SQL.delete_idle, *key)
    else:
        tx.execute(SQL.delete_user_queues, *key)
        tx.execute(SQL.delete_clock, *key)
