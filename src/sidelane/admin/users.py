"""Users: who submits most jobs, is refused most often, uses most run time and tokens, and costs most.

The store counts by the hour. Of a past hour it keeps the users that are at the top by one of these amounts.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sidelane.admin.documents import Document, time_text
from sidelane.admin.figures import Figures, History, Period, cost_text
from sidelane.model.durations import duration_text
from sidelane.model.history import HOUR, Count, HistoryQuery, UserUsage
from sidelane.model.sentence import Sentence, sentence
from sidelane.sizing.services import percent
from sidelane.stores.contract import Store

LEADING_SHARE: Final = 0.1
"""Part of everything from which on the user at the top is worth a sentence."""


class Amount(StrEnum):
    """By what users are compared."""

    JOBS = "jobs"
    REFUSED = "refused"
    RUN_TIME = "run-time"
    TOKENS = "tokens"
    COST = "cost"

    @property
    def key(self) -> str:
        """The member of JSON documents with this amount."""
        return self.replace("-", "_")

    def of_user(self, user: UserUsage) -> float:
        """Return the amount of one user."""
        return _OF_USER[self](user)

    def of_all(self, figures: Figures) -> float:
        """Return the amount of all jobs together, those without a user too."""
        return _OF_ALL[self](figures)


_OF_USER: Final[Mapping[Amount, Callable[[UserUsage], float]]] = {
    Amount.JOBS: lambda user: user.submitted,
    Amount.REFUSED: lambda user: user.refused,
    Amount.RUN_TIME: lambda user: user.run_time,
    Amount.TOKENS: lambda user: user.tokens,
    Amount.COST: lambda user: user.cost,
}

_OF_ALL: Final[Mapping[Amount, Callable[[Figures], float]]] = {
    Amount.JOBS: lambda figures: figures.count(Count.SUBMITTED),
    Amount.REFUSED: lambda figures: figures.refused,
    Amount.RUN_TIME: lambda figures: figures.count(Count.RUN_MS) / 1000,
    Amount.TOKENS: lambda figures: figures.count(Count.INPUT_TOKENS, Count.OUTPUT_TOKENS),
    Amount.COST: lambda figures: figures.cost,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class TopUsers:
    """What users did between two times, and the figures of all jobs, which include jobs without a user.

    `users` have the sums of their hours. A user that was not at the top in an hour lacks what it did in that hour.
    """

    since: float
    until: float
    users: Sequence[UserUsage]
    figures: Figures

    def by(self, amount: Amount) -> list[UserUsage]:
        """Return the users, those with the highest amount first."""
        return sorted(self.users, key=lambda user: (-amount.of_user(user), user.user))

    def share(self, amount: Amount, user: UserUsage) -> float | None:
        """Return which part of an amount of all jobs is one user's, or None if there is nothing of it."""
        total = amount.of_all(self.figures)
        return min(1.0, amount.of_user(user) / total) if total else None

    @property
    def main_amount(self) -> Amount:
        """What users are compared by unless another amount is chosen: the cost, if any task reports it."""
        return Amount.COST if self.figures.cost else Amount.RUN_TIME

    @property
    def leaders(self) -> list[Sentence]:
        """Who floods and who costs most, in one sentence each, if one user has a large part of everything."""
        return [
            _leader(amount, user, share)
            for amount in (Amount.JOBS, Amount.REFUSED, self.main_amount)
            for user in self.by(amount)[:1]
            if (share := self.share(amount, user) or 0.0) >= LEADING_SHARE
        ]

    def document(self, amount: Amount, limit: int) -> Document:
        """Return the users at the top by an amount, and what all jobs had, as JSON. Run time is in seconds."""
        users = self.by(amount)[:limit]
        return {
            "since": time_text(self.since),
            "until": time_text(self.until),
            "by": amount,
            "users": [{"user": user.user, **{each.key: each.of_user(user) for each in Amount}} for user in users],
            "all": {each.key: each.of_all(self.figures) for each in Amount},
        }


async def read_top_users(store: Store, seconds: float) -> TopUsers:
    """Return what users did in the last `seconds`, from the begin of an hour on. Raises `StoreError`."""
    now = (await store.list_schedules()).now
    since = (now - seconds) // HOUR * HOUR
    hours, cells = await asyncio.gather(
        store.top_users(since, now), store.history(HistoryQuery(since=since, until=now, step=HOUR))
    )
    by_user: dict[str, list[UserUsage]] = defaultdict(list)
    for each in hours:
        by_user[each.user].append(each)
    figures = History(Period(since, now, HOUR), cells).all_queues.figures
    return TopUsers(since=since, until=now, users=list(map(_sum, by_user.values())), figures=figures)


def _sum(hours: Sequence[UserUsage]) -> UserUsage:
    return UserUsage(
        at=hours[0].at,
        user=hours[0].user,
        submitted=sum(each.submitted for each in hours),
        refused=sum(each.refused for each in hours),
        run_time=sum(each.run_time for each in hours),
        tokens=sum(each.tokens for each in hours),
        cost=sum(each.cost for each in hours),
    )


def _leader(amount: Amount, user: UserUsage, share: float) -> Sentence:
    name, part = user.user, percent(share)
    if amount is Amount.JOBS:
        count = f"{user.submitted:,}"
        return sentence("{user} submitted most jobs: {count}, {share} of all.", user=name, count=count, share=part)
    if amount is Amount.REFUSED:
        return sentence("{user} was refused most often: {count} times.", user=name, count=f"{user.refused:,}")
    if amount is Amount.COST:
        cost = cost_text(user.cost)
        return sentence("{user} costs most: {cost}, {share} of all.", user=name, cost=cost, share=part)
    time = duration_text(user.run_time)
    return sentence("{user} uses most run time: {time}, {share} of all.", user=name, time=time, share=part)
