"""The lines of ready jobs: start-time fair queuing among the users of a queue and priority (rules 15).

Isolated jobs have lines of their own, so that no claim passes by those it may not take.

Each user with ready jobs has a line with a start tag `S`; the lowest goes next, the older head where tags are equal. A job
taken from a line moves the clock `V` to `S` if that is later, and gives the line the tag `max(V, S + 1)`.
"""

from collections.abc import Iterable, Iterator
from heapq import heappop, heappush
from typing import Any, NamedTuple, Protocol

import apsw

from sidelane.stores.sqlite.sql import all_rows, first, scalar
from sidelane.stores.sqlite.statements import statements

_SQL = statements(__file__)
_ARRIVE = _SQL["arrive"]
_MOVE = _SQL["move"]
_IS_HEAD = _SQL["is_head"]
_PRIORITIES_BELOW = _SQL["priorities_below"]
_IN_TURN = _SQL["in_turn"]
_WAITING = _SQL["waiting"]
_CLOCK = _SQL["clock"]
_SET_CLOCK = _SQL["set_clock"]
_BUSY = _SQL["busy"]
_FORGET_IDLE = _SQL["forget_idle"]
_FORGET_LINES = _SQL["forget_lines"]
_FORGET_CLOCK = _SQL["forget_clock"]

_PAGE = 100  # lines looked at in one go
_MAX_READ = 500  # jobs of one line looked at in one go


class UserQueue(NamedTuple):
    """Which line: whose, of which priority and queue, and whether of isolated jobs."""

    queue: str
    isolated: int
    priority: int
    user: str


class Candidate(NamedTuple):
    """A ready job, as far as a claim must know it to take it or leave it."""

    seq: int
    task: str
    version: int
    give_up: float | None
    limited: int


class ClaimFilter(Protocol):
    """Who picks: says which jobs it wants and whether it has looked at enough, and is told which it got."""

    @property
    def has_enough(self) -> bool: ...

    def wants(self, candidate: Candidate) -> bool: ...

    def takes(self, candidate: Candidate) -> None: ...


def push(connection: apsw.Connection, line: UserQueue, seq: int) -> None:
    """Let a job that is ready now stand in its user's line."""
    connection.execute(_ARRIVE, (*line, seq))


def remove(connection: apsw.Connection, line: UserQueue, seq: int) -> None:
    """Let a job that is not ready any more, and was not picked, leave its line at no cost to its user."""
    if first(connection, _IS_HEAD, *line, seq):
        connection.execute(_MOVE, (*line, None))
        _drop_idle(connection, *line[:3])


def remove_all(connection: apsw.Connection, left: Iterable[UserQueue]) -> None:
    """Let all jobs that are not ready any more leave these lines, at no cost to their users."""
    lines = list(left)
    connection.executemany(_MOVE, [(*line, None) for line in lines])
    for queue, isolated, priority in {line[:3] for line in lines}:
        _drop_idle(connection, queue, isolated, priority)


def priorities(connection: apsw.Connection, queue: str, isolated: int) -> Iterator[int]:
    """Give the priorities of a queue that have ready jobs, from the highest."""
    below: int | None = None
    while True:
        below = scalar(connection, _PRIORITIES_BELOW, queue, isolated, below)
        if below is None:
            return
        yield below


class FairSelection:
    """One claim's way along the lines of one queue and priority. Nothing is written until `settle`."""

    def __init__(self, connection: apsw.Connection, queue: str, isolated: int, priority: int) -> None:
        self._connection = connection
        self._lines = (queue, isolated, priority)
        self._clock: int = scalar(connection, _CLOCK, *self._lines) or 0
        self._tags: dict[str, int] = {}  # of the lines something was picked from

    def pick(self, room: int, taker: ClaimFilter) -> list[int]:
        """Choose up to `room` jobs in turn, and give their sequences."""
        picked: list[int] = []
        heap: list[tuple[int, int, str]] = []  # start tag, the job to be looked at next, user
        lines: dict[str, _QueuedJobs] = {}
        coming = self._in_turn(min(room, _PAGE))
        ahead = next(coming, None)
        while len(picked) < room and not taker.has_enough:
            while ahead is not None and (not heap or ahead < heap[0]):
                heappush(heap, ahead)
                lines[ahead[2]] = self._line(ahead[2], ahead[1] - 1)
                ahead = next(coming, None)
            if not heap:
                break
            tag, seq, user = heappop(heap)
            line = lines[user]
            alone = not heap and ahead is None
            candidate = line.first(taker, room - len(picked) if alone else 2)
            if candidate is None:
                continue
            if alone or candidate.seq == seq:
                line.drop_first()
                taker.takes(candidate)
                picked.append(candidate.seq)
                self._clock = max(self._clock, tag)
                tag = self._tags[user] = max(self._clock, tag + 1)
                seq = candidate.seq + 1
            else:  # it was only here under the age of a job that is not wanted
                seq = candidate.seq
            heappush(heap, (tag, seq, user))
        return picked

    def settle(self) -> None:
        """Write the lines down as they are now that the picked jobs are not ready any more."""
        if self._tags:
            self._connection.executemany(_MOVE, [(*self._lines, user, tag) for user, tag in self._tags.items()])
            self._connection.execute(_SET_CLOCK, (*self._lines, self._clock))
            _drop_idle(self._connection, *self._lines)

    def _in_turn(self, page: int) -> Iterator[tuple[int, int, str]]:
        """Give the lines in their order, a page at a time: no cursor stays open over a write."""
        tag, head = -1, -1
        while True:
            found: list[Any] = all_rows(self._connection, _IN_TURN, *self._lines, tag, head, page)
            yield from found
            if len(found) < page:
                return
            tag, head = found[-1][:2]

    def _line(self, user: str, before: int) -> "_QueuedJobs":
        return _QueuedJobs(self._connection, UserQueue(*self._lines, user), before)


class _QueuedJobs:
    """One user's ready jobs, oldest first, read as far as they are needed."""

    __slots__ = ("_after", "_connection", "_ended", "_line", "_read", "_size")

    def __init__(self, connection: apsw.Connection, line: UserQueue, after: int) -> None:
        self._connection = connection
        self._line = line
        self._after = after
        self._read: list[Candidate] = []  # the next one last
        self._size = 1
        self._ended = False

    def first(self, taker: ClaimFilter, size: int) -> Candidate | None:
        """Give the oldest job the taker wants, passing by those it does not; `size` is how many are likely to be needed."""
        while True:
            while self._read:
                if taker.wants(self._read[-1]):
                    return self._read[-1]
                self._read.pop()
            if self._ended or taker.has_enough:
                return None
            self._look(size)

    def drop_first(self) -> None:
        self._read.pop()

    def _look(self, size: int) -> None:
        size = self._size = min(max(size, 2 * self._size), _MAX_READ)
        found = all_rows(self._connection, _WAITING, *self._line, self._after, size)
        self._ended = len(found) < size
        if found:
            self._after = found[-1][0]
            self._read = [Candidate._make(each) for each in reversed(found)]


def _drop_idle(connection: apsw.Connection, queue: str, isolated: int, priority: int) -> None:
    """Forget users without ready jobs as soon as that changes nothing for them."""
    lines = (queue, isolated, priority)
    if first(connection, _BUSY, *lines):
        connection.execute(_FORGET_IDLE, lines)
    else:
        connection.execute(_FORGET_LINES, lines)
        connection.execute(_FORGET_CLOCK, lines)
