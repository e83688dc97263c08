"""Turns: in which order a worker asks its queues for jobs, and how much of its room it offers to each."""

from collections.abc import Mapping, Sequence


class WeightedQueues:
    """Shares a worker's room among its queues by their weights while more is waiting than it can take.

    `strict`: no shares; each queue is served before the next, in their order.

    A queue that gave less than it was asked for is taken to be empty until it gives as much as its share again. Such queues are
    asked first, for no more than their share; all the room is shared among the others, so that it takes no second claim to give
    them what the empty ones leave.
    """

    def __init__(self, weights: Mapping[str, int], *, strict: bool = False) -> None:
        self._weights = weights
        self._strict = strict
        self._empty: set[str] = set()
        self._credit: dict[str, int] = {}

    def allocate(self, free: Mapping[str, int], room: int) -> dict[str, int]:
        """Map the queues that have `free` slots to how many jobs to ask each for, `room` being what there is for all of them.

        Every queue is asked, in the order of the answer: those without a share this time get what the others leave.
        """
        offers = {queue: min(slots, room) for queue, slots in free.items()}
        waiting = [queue for queue in offers if queue not in self._empty]
        if self._strict or len(offers) < 2 or not waiting:
            return offers
        shares = self._shares(waiting, offers, room)
        total = sum(self._weights[queue] for queue in offers)
        asked = {
            queue: min(offer, max(1, room * self._weights[queue] // total))
            for queue, offer in offers.items()
            if queue in self._empty
        }
        return {**asked, **shares, **{queue: offers[queue] for queue in waiting if queue not in shares}}

    def record(self, asked: Mapping[str, int], given: Mapping[str, int], *, full: bool) -> list[str]:
        """Note how many jobs each queue gave; `full`: the claim got all there was room for, so some were not reached.

        Gives the queues that gave all they were asked for, and so may have more.
        """
        reached = list(asked)
        if full:
            last = max((place for place, queue in enumerate(reached) if given.get(queue)), default=-1)
            reached = reached[: last + 1]
        more = [queue for queue in reached if given.get(queue, 0) >= asked[queue]]
        if full and reached and reached[-1] not in more:
            reached.pop()  # the claim was over before this one's share was
        self._empty.difference_update(more)
        self._empty.update(queue for queue in reached if queue not in more)
        return more

    def _shares(self, queues: Sequence[str], offers: Mapping[str, int], room: int) -> dict[str, int]:
        """Give the turns out one by one: each time to whom most is due (smooth weighted round robin)."""
        weights, credit = self._weights, self._credit
        rounds = room // sum(weights[queue] for queue in queues)
        rounds = min(rounds, *(offers[queue] // weights[queue] for queue in queues))
        shares = (
            {queue: rounds * weights[queue] for queue in queues} if rounds else {}
        )  # a round leaves the credits as they are
        for _ in range(room - sum(shares.values())):
            candidates = [queue for queue in queues if shares.get(queue, 0) < offers[queue]]
            if not candidates:
                break
            for queue in candidates:
                credit[queue] = credit.get(queue, 0) + weights[queue]
            best = max(candidates, key=lambda queue: credit[queue])
            credit[best] -= sum(weights[queue] for queue in candidates)
            shares[best] = shares.get(best, 0) + 1
        return shares
