"""Weighted queues: shares by weight under load, no slot unused, no queue starved."""

from collections import Counter
from collections.abc import Mapping

import pytest

from sidelane.worker.capacity import WeightedQueues


class Simulation:
    """A worker's queues with so many jobs waiting in each; slots are free again as soon as they were taken."""

    def __init__(
        self, weighted: WeightedQueues, waiting: Mapping[str, int], limits: Mapping[str, int] | None = None
    ) -> None:
        self.weighted = weighted
        self.waiting = Counter(waiting)
        self.limits = limits or {}
        self.claims = 0
        self.done: Counter[str] = Counter()

    def fill(self, slots: int) -> Counter[str]:
        """Claim until no slot is free or no queue may have more jobs, as a worker does."""
        taken: Counter[str] = Counter()
        while left := slots - taken.total():
            free = {queue: self.limits.get(queue, slots) - taken[queue] for queue in self.waiting}
            free = {queue: count for queue, count in free.items() if count > 0}
            received, more = self.claim(free, left)
            taken += received
            if received.total() < left and not any(self.limits.get(queue, slots) > taken[queue] for queue in more):
                break
        self.done += taken
        return taken

    def claim(self, free: Mapping[str, int], slots: int) -> tuple[Counter[str], list[str]]:
        requested = self.weighted.allocate(free, slots)
        assert requested.keys() == free.keys()
        self.claims += 1
        received: Counter[str] = Counter()
        for queue, most in requested.items():
            received[queue] = min(most, self.waiting[queue], slots - received.total())
            self.waiting[queue] -= received[queue]
        return received, self.weighted.record(requested, received, full=received.total() >= slots)


@pytest.mark.parametrize("slots", [1, 2, 3, 7, 100])
def test_queues_get_shares_by_their_weights(slots: int) -> None:
    simulation = Simulation(WeightedQueues({"a": 5, "b": 3, "c": 1}), dict.fromkeys("abc", 100_000))
    for _ in range(900 // slots):
        simulation.fill(slots)
    total = simulation.done.total()
    assert {queue: round(9 * count / total, 1) for queue, count in simulation.done.items()} == {"a": 5, "b": 3, "c": 1}


def test_shares_are_interleaved() -> None:
    simulation = Simulation(WeightedQueues({"a": 2, "b": 1}), dict.fromkeys("ab", 100))
    assert [next(iter(simulation.fill(1).elements())) for _ in range(6)] == ["a", "b", "a", "a", "b", "a"]


@pytest.mark.parametrize("slots", [1, 4, 30])
def test_unused_share_goes_to_other_queues(slots: int) -> None:
    simulation = Simulation(WeightedQueues({"a": 1, "b": 1, "c": 1}), {"a": 1000, "b": 0, "c": 0})
    for _ in range(10):
        assert simulation.fill(slots) == {"a": slots}
    assert simulation.claims <= 12  # only the first had to find out that the others are empty


def test_idle_worker_claims_once() -> None:
    simulation = Simulation(WeightedQueues({"a": 1, "b": 1, "c": 1}), dict.fromkeys("abc", 0))
    for number in range(1, 5):
        assert not simulation.fill(10)
        assert simulation.claims == number


def test_job_for_an_idle_worker_takes_one_claim() -> None:
    simulation = Simulation(WeightedQueues({"a": 1, "b": 1, "c": 1}), dict.fromkeys("abc", 0))
    simulation.fill(10)
    for queue in "abc":
        simulation.waiting[queue] += 1
        assert simulation.fill(10) == {queue: 1}
    assert simulation.claims == 4


@pytest.mark.parametrize("slots", [1, 3, 10])
def test_queue_that_was_empty_gets_its_share_as_soon_as_it_has_jobs(slots: int) -> None:
    simulation = Simulation(WeightedQueues({"flood": 1, "late": 1}), {"flood": 10_000, "late": 0})
    for _ in range(20):
        simulation.fill(slots)
    simulation.waiting["late"] = 10_000
    simulation.done.clear()
    for _ in range(20):
        simulation.fill(slots)
    assert abs(simulation.done["late"] - simulation.done["flood"]) <= slots


@pytest.mark.parametrize("slots", [1, 2, 5])
def test_low_weight_queue_waits_for_at_most_one_round(slots: int) -> None:
    weights = {"small": 1, "big": 1000, "huge": 1000}
    simulation = Simulation(WeightedQueues(weights), {"small": 1, "big": 100_000, "huge": 100_000})
    while not simulation.done["small"]:
        simulation.fill(slots)
    assert simulation.done.total() <= sum(weights.values()) + slots


def test_queue_whose_share_did_not_fit_does_not_count_as_empty() -> None:
    simulation = Simulation(WeightedQueues({"a": 1, "b": 1, "c": 1}), {"a": 1000, "b": 1000, "c": 0})
    simulation.fill(6)
    simulation.waiting["c"] = 1
    assert simulation.fill(6) == {"c": 1, "a": 3, "b": 2}
    assert simulation.weighted.allocate(dict.fromkeys("abc", 6), 6) == {"c": 2, "a": 3, "b": 3}


def test_full_queue_leaves_its_share_to_queues_with_free_slots() -> None:
    simulation = Simulation(WeightedQueues({"gpu": 1, "chat": 1}), {"gpu": 100, "chat": 100}, limits={"gpu": 1})
    assert simulation.fill(10) == {"gpu": 1, "chat": 9}


def test_strict_order_empties_each_queue_before_the_next() -> None:
    simulation = Simulation(WeightedQueues({"first": 1, "second": 100}, strict=True), {"first": 15, "second": 15})
    assert [simulation.fill(10) for _ in range(3)] == [{"first": 10}, {"first": 5, "second": 5}, {"second": 10}]
    assert simulation.claims == 3
