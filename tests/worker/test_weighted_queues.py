"""Turns: shares by weight while more waits than there is room for, nothing left unused, nobody forgotten."""

from collections import Counter
from collections.abc import Mapping

import pytest

from sidelane.worker.capacity import WeightedQueues


class Bench:
    """A worker's queues with so many jobs waiting in each; slots are free again as soon as they were taken."""

    def __init__(
        self, turns: WeightedQueues, waiting: Mapping[str, int], caps: Mapping[str, int] | None = None
    ) -> None:
        self.turns = turns
        self.waiting = Counter(waiting)
        self.caps = caps or {}
        self.claims = 0
        self.done: Counter[str] = Counter()

    def fill(self, room: int) -> Counter[str]:
        """Claim until the room is full or no queue may have more, as a worker does."""
        taken: Counter[str] = Counter()
        while left := room - taken.total():
            free = {queue: self.caps.get(queue, room) - taken[queue] for queue in self.waiting}
            free = {queue: slots for queue, slots in free.items() if slots > 0}
            given, more = self.claim(free, left)
            taken += given
            if given.total() < left and not any(self.caps.get(queue, room) > taken[queue] for queue in more):
                break
        self.done += taken
        return taken

    def claim(self, free: Mapping[str, int], room: int) -> tuple[Counter[str], list[str]]:
        asked = self.turns.allocate(free, room)
        assert asked.keys() == free.keys()
        self.claims += 1
        given: Counter[str] = Counter()
        for queue, most in asked.items():
            given[queue] = min(most, self.waiting[queue], room - given.total())
            self.waiting[queue] -= given[queue]
        return given, self.turns.record(asked, given, full=given.total() >= room)


@pytest.mark.parametrize("room", [1, 2, 3, 7, 100])
def test_queues_get_shares_by_their_weights(room: int) -> None:
    bench = Bench(WeightedQueues({"a": 5, "b": 3, "c": 1}), dict.fromkeys("abc", 100_000))
    for _ in range(900 // room):
        bench.fill(room)
    total = bench.done.total()
    assert {queue: round(9 * count / total, 1) for queue, count in bench.done.items()} == {"a": 5, "b": 3, "c": 1}


def test_shares_are_interleaved() -> None:
    bench = Bench(WeightedQueues({"a": 2, "b": 1}), dict.fromkeys("ab", 100))
    assert [next(iter(bench.fill(1).elements())) for _ in range(6)] == ["a", "b", "a", "a", "b", "a"]


@pytest.mark.parametrize("room", [1, 4, 30])
def test_unused_share_goes_to_other_queues(room: int) -> None:
    bench = Bench(WeightedQueues({"a": 1, "b": 1, "c": 1}), {"a": 1000, "b": 0, "c": 0})
    for _ in range(10):
        assert bench.fill(room) == {"a": room}
    assert bench.claims <= 12  # only the first had to find out that the others are empty


def test_idle_worker_claims_once() -> None:
    bench = Bench(WeightedQueues({"a": 1, "b": 1, "c": 1}), dict.fromkeys("abc", 0))
    for number in range(1, 5):
        assert not bench.fill(10)
        assert bench.claims == number


def test_job_for_an_idle_worker_takes_one_claim() -> None:
    bench = Bench(WeightedQueues({"a": 1, "b": 1, "c": 1}), dict.fromkeys("abc", 0))
    bench.fill(10)
    for queue in "abc":
        bench.waiting[queue] += 1
        assert bench.fill(10) == {queue: 1}
    assert bench.claims == 4


@pytest.mark.parametrize("room", [1, 3, 10])
def test_queue_that_was_empty_gets_its_share_as_soon_as_it_has_jobs(room: int) -> None:
    bench = Bench(WeightedQueues({"flood": 1, "late": 1}), {"flood": 10_000, "late": 0})
    for _ in range(20):
        bench.fill(room)
    bench.waiting["late"] = 10_000
    bench.done.clear()
    for _ in range(20):
        bench.fill(room)
    assert abs(bench.done["late"] - bench.done["flood"]) <= room


@pytest.mark.parametrize("room", [1, 2, 5])
def test_low_weight_queue_waits_for_at_most_one_round(room: int) -> None:
    weights = {"small": 1, "big": 1000, "huge": 1000}
    bench = Bench(WeightedQueues(weights), {"small": 1, "big": 100_000, "huge": 100_000})
    while not bench.done["small"]:
        bench.fill(room)
    assert bench.done.total() <= sum(weights.values()) + room


def test_queue_whose_share_did_not_fit_does_not_count_as_empty() -> None:
    bench = Bench(WeightedQueues({"a": 1, "b": 1, "c": 1}), {"a": 1000, "b": 1000, "c": 0})
    bench.fill(6)
    bench.waiting["c"] = 1
    assert bench.fill(6) == {"c": 1, "a": 3, "b": 2}
    assert bench.turns.allocate(dict.fromkeys("abc", 6), 6) == {"c": 2, "a": 3, "b": 3}


def test_full_queue_leaves_its_share_to_queues_with_free_slots() -> None:
    bench = Bench(WeightedQueues({"gpu": 1, "chat": 1}), {"gpu": 100, "chat": 100}, caps={"gpu": 1})
    assert bench.fill(10) == {"gpu": 1, "chat": 9}


def test_strict_order_empties_each_queue_before_the_next() -> None:
    bench = Bench(WeightedQueues({"first": 1, "second": 100}, strict=True), {"first": 15, "second": 15})
    assert [bench.fill(10) for _ in range(3)] == [{"first": 10}, {"first": 5, "second": 5}, {"second": 10}]
    assert bench.claims == 3
