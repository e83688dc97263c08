"""A job's row as the scripts pack it."""

from typing import Any, NamedTuple

from msgpack import unpackb


class Row(NamedTuple):
    """The fields in the order of `rows.lua`. What is not there is false."""

    sequence: int
    state: int
    queue: str
    priority: str
    user: str
    task: str
    version: str
    key: Any
    unique: Any
    parent: Any
    budget: int
    keep: float
    start_within: Any
    deadline: Any
    abandon_after: Any
    follows: bool
    limits: Any
    limit_keys: Any
    batch: Any
    cascade: bool
    parked_at: Any
    submitted: float
    due: float
    wait: Any
    attempt: int
    failures: int
    losses: int
    ends: int
    started: Any
    ended: Any
    give_up: Any
    deadline_at: Any
    abandon_at: Any
    cancelling: bool
    worker: Any
    nonce: Any
    settled: Any
    ordinal: int
    epoch: int
    last: int
    progress: Any
    problem: Any
    stamped: bool
    spec: Any
    result: Any
    remember: float
    outside: Any
    isolable: bool
    isolated: bool


def row_of(packed: str) -> Row:
    """Unpack a row that came among the texts of an answer, its bytes that are no UTF-8 escaped."""
    return Row._make(unpackb(packed.encode(errors="surrogateescape")))
