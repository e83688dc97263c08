"""Limits as operators see and change them: how full each is, which jobs use it and wait for it, and the numbers in force."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from sidelane.admin.actions import ActionResult, Status
from sidelane.admin.documents import Document, time_text
from sidelane.client.declarations import DECLARATIONS, Declarations, load_declarations
from sidelane.model.durations import DAY, duration_text
from sidelane.model.errors import ArgumentsError, SidelaneError, UnknownLimit
from sidelane.model.job import MAX_TEXT, JobRecord, Query, State
from sidelane.model.limit import Limit, RateLimit
from sidelane.model.limit_override import MAX_NUMBER, MAX_OVERRIDES, LimitOverride
from sidelane.model.sentence import Sentence, sentence
from sidelane.model.worker import LimitStats
from sidelane.stores.contract import Store

MAX_SEARCHED: Final = 2000
"""The newest running jobs among which those of a limit are searched."""

MAX_READ: Final = 500
"""Of these, the jobs that are read."""


MAX_REASON: Final = 200
"""Characters of a reason that are kept."""

MAX_CHANGE: Final = 90 * DAY
"""Seconds for which another number may be in force, unless only a person restores the declared one."""

MAX_NAMED: Final = 10
"""Known limits that an error names."""


class TooManyChangedLimits(SidelaneError):
    """Too many limits have other numbers than declared. Restore some of them first."""

    status = 409


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitChange:
    """What an operator asks for: a number such as "5" or a rate such as "20/minute", who, why, and for how many seconds.

    Without `seconds`, only a person restores the declared number.
    """

    number: str
    by: str = ""
    reason: str = ""
    seconds: float | None = None


@dataclass(frozen=True, slots=True)
class ChangedLimit:
    """A limit with another number than it declares. `declared` is None for a limit that no open lane has declared lately."""

    override: LimitOverride
    declared: Limit | None

    def document(self) -> Document:
        """Return the change as JSON."""
        override, declared = self.override, self.declared
        return {
            "id": override.id, **_numbers_document(override), "until": time_text(override.until),
            "since": time_text(override.since), "by": override.by or None, "reason": override.reason or None,
            "declared": None if declared is None else _numbers_document(declared),
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class LimitJobs:
    """Jobs of one limit: those that use it while they run, the newest first, and a page of those that wait for it.

    Those that wait are in the order in which they start. `next` is where the next page begins, or None after the last.
    `declared` is the limit as one of these jobs has it, if there is one.
    """

    running: Sequence[JobRecord]
    waiting: Sequence[JobRecord]
    next: tuple[int, int] | None
    declared: Limit | None


def fullest_first(limits: Iterable[LimitStats]) -> list[LimitStats]:
    """Return limits in the order in which operators look at them."""
    return sorted(limits, key=lambda each: (-each.used / each.max if each.max else 0.0, -each.waiting, each.id))


async def jobs_of_limit(store: Store, limit_id: str, *, after: tuple[int, int] | None = None, count: int) -> LimitJobs:
    """Return jobs of a limit. `count` of those that wait are on the page after this priority and sequence.

    Those that use it are found as far as they are among the newest running jobs of the store.
    """
    running = await store.search_jobs(Query(states=frozenset({State.RUNNING}), limit=MAX_READ), scan=MAX_SEARCHED)
    using = [record for record in running.records if _declared(record, limit_id) is not None]
    waiting = await store.waiting_jobs(limit_id, after=after, limit=count + 1)
    page = waiting[:count]
    declared = next((_declared(record, limit_id) for record in (*using, *waiting)), None)
    return LimitJobs(using, page, position_of(page[-1]) if len(waiting) > count else None, declared)


async def changed_limits(store: Store) -> list[ChangedLimit]:
    """Return the limits whose numbers an operator has changed, by id."""
    declared = (await _read_declarations(store)).limits
    return [ChangedLimit(each, declared.get(each.name)) for each in await store.limit_overrides()]


def change_in_force(changed: Iterable[ChangedLimit], limit_id: str) -> ChangedLimit | None:
    """Return the change that a limit has: that of its key before that of all keys."""
    by_id = {each.override.id: each for each in changed}
    return by_id.get(limit_id) or by_id.get(limit_id.partition("/")[0])


async def planned_override(store: Store, limit: str, change: LimitChange) -> LimitOverride:
    """Return what a change would set. `limit` is the name of a limit, for all its keys, or the id of one limit, NAME/KEY.

    A rate keeps its declared burst, but no more than the new number; a burst of the whole number remains one.
    Raises `UnknownLimit`, and `ArgumentsError` for a number, a key or an end that makes no sense.
    """
    name, slash, key = limit.partition("/")
    is_rate, declared = await _known(store, name)
    most, window = _numbers(change.number)
    if (window is not None) != is_rate:
        text = "The limit {name!r} counts jobs: write a number, e.g. 5."
        if is_rate:
            text = "The limit {name!r} counts starts or submits per time: write a rate, e.g. 20/minute."
        raise ArgumentsError(sentence(text, name=name))
    if change.seconds is not None and change.seconds <= 0:
        raise ArgumentsError(sentence("The time at which the change of the limit would end has passed."))
    if change.seconds is not None and change.seconds > MAX_CHANGE:
        text = "A limit is changed for at most {days} days, or until an operator restores it."
        raise ArgumentsError(sentence(text, days=f"{MAX_CHANGE / DAY:.0f}"))
    burst = most if declared is None or declared.burst == declared.max else min(declared.burst, most)
    now = (await store.list_schedules()).now
    try:
        return LimitOverride(
            name=name, key=key if slash else None, max=most, window=window, burst=burst if is_rate else 1, since=now,
            until=None if change.seconds is None else now + change.seconds, by=change.by[:MAX_TEXT],
            reason=change.reason[:MAX_REASON],
        )  # fmt: skip
    except ValueError as error:  # a key that no job can have
        raise ArgumentsError(str(error)) from error


async def change_limit(store: Store, limit: str, change: LimitChange) -> ActionResult:
    """Set another number for a limit, of all its keys or of one. Queued jobs are bound by it, and running ones go on.

    Raises the errors of `planned_override`, and `TooManyChangedLimits`.
    """
    override = await planned_override(store, limit, change)
    if not await store.override_limit(override):
        text = "{count} limits have other numbers than declared: restore some of them first."
        raise TooManyChangedLimits(sentence(text, count=f"{MAX_OVERRIDES:,}"))
    declared = (await _read_declarations(store)).limits.get(override.name)
    changed = ChangedLimit(override, declared)
    message = numbers_text(override)
    if change.seconds is not None:
        message = sentence("{numbers} for {time}", numbers=message, time=duration_text(change.seconds))
    if declared is not None:
        message = sentence("{numbers}, declared: {declared}", numbers=message, declared=numbers_text(declared))
    return ActionResult(limit, Status.DONE, message, {"change": changed.document()})


async def restore_limit(store: Store, limit: str) -> ActionResult:
    """Let a limit have its declared number again."""
    restored = await store.restore_limit(limit)
    message = sentence("the declared number is in force" if restored else "unchanged: it had its declared number")
    return ActionResult(limit, Status.DONE, message)


def numbers_text(numbers: Limit | LimitOverride) -> Sentence:
    """Return the number of a limit in words: "5 at once" or "20 per 1 min, 5 at once"."""
    if numbers.window is None:
        return sentence("{max} at once", max=f"{numbers.max:,}")
    rate = sentence("{max} per {time}", max=f"{numbers.max:,}", time=duration_text(numbers.window))
    return (
        rate
        if numbers.burst == numbers.max
        else sentence("{rate}, {burst} at once", rate=rate, burst=f"{numbers.burst:,}")
    )


def _numbers_document(numbers: Limit | LimitOverride) -> Document:
    return {
        "max": numbers.max,
        "window": numbers.window,
        "burst": None if numbers.window is None else numbers.burst,
    }


async def _known(store: Store, name: str) -> tuple[bool, Limit | None]:
    """Return whether a limit is a rate, and its declaration, if a lane has declared it. Raises `UnknownLimit`."""
    declared = (await _read_declarations(store)).limits
    if name in declared:
        return declared[name].window is not None, declared[name]
    rates = {each.name: each.window is not None for each in await store.limit_overrides()}
    rates |= {each.id.partition("/")[0]: each.available_in is not None for each in await store.limits()}
    if name in rates:
        return rates[name], None
    names = sorted({*declared, *rates})
    if not names:
        raise UnknownLimit(sentence("There is no limit {name!r}. No limit is known.", name=name[:100]))
    known: Sentence | str = ", ".join(names[:MAX_NAMED])
    if len(names) > MAX_NAMED:
        known = sentence("{names} and {count} more", names=known, count=len(names) - MAX_NAMED)
    raise UnknownLimit(sentence("There is no limit {name!r}. Known limits: {known}.", name=name[:100], known=known))


def _numbers(text: str) -> tuple[int, float | None]:
    """Return the number and the window of "5" or "20/minute". Raises `ArgumentsError`."""
    text = text.strip()
    if text.isdecimal() and text.isascii():
        if int(text) == 0:
            raise ArgumentsError(sentence("A limit is at least 1. To let no job start, pause its queue or its task."))
        numbers: tuple[int, float | None] = int(text), None
    else:
        rate = RateLimit(text, per="task")
        if rate.invalid_reason():
            wrong = "{text!r}: write a number of jobs, e.g. 5, or a rate, e.g. 20/minute."
            raise ArgumentsError(sentence(wrong, text=text[:100]))
        limit = rate.limit("", "")
        numbers = limit.max, limit.window
    if numbers[0] > MAX_NUMBER:
        raise ArgumentsError(sentence("{text}: use at most {most} jobs.", text=text[:100], most=f"{MAX_NUMBER:,}"))
    return numbers


async def _read_declarations(store: Store) -> Declarations:
    (value,) = await store.read_values([DECLARATIONS])
    return load_declarations(value)


def position_of(record: JobRecord) -> tuple[int, int]:
    """Return the place of a job among those that wait for a limit: its priority and sequence."""
    return record.spec.priority, record.sequence


def _declared(record: JobRecord, limit_id: str) -> Limit | None:
    return next((each for each in record.spec.limits if each.id == limit_id), None)
