"""Changes of limits by operators: what may be changed, to which numbers, and for how long."""

from collections.abc import Mapping

import pytest

from sidelane.admin.actions import Status
from sidelane.admin.limits import (
    LimitChange,
    TooManyChangedLimits,
    change_in_force,
    change_limit,
    changed_limits,
    planned_override,
    restore_limit,
)
from sidelane.client.declarations import save_declarations
from sidelane.conformance.stores.actions import rate_limit, slot_limit, specs, submit
from sidelane.model.errors import ArgumentsError, UnknownLimit
from sidelane.model.limit import ConcurrencyLimit, LimitPolicy, RateLimit
from sidelane.model.limit_override import MAX_OVERRIDES, LimitOverride
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from tests.admin.clocked_store import clock, store

__all__ = ["clock", "store"]

DECLARED: Mapping[str, LimitPolicy] = {
    "gpu": ConcurrencyLimit(2, per="queue", on_limit="wait"),
    "sms": RateLimit("20/minute", per="task", on_limit="wait"),
    "smooth": RateLimit("20/minute", per="task", burst=5),
}


@pytest.fixture
async def declared(store: Store) -> Store:
    """The store of a lane with limits."""
    await save_declarations(store, [], DECLARED)
    return store


async def test_change_says_the_number_in_force_and_the_declared_one(declared: Store, clock: ManualClock) -> None:
    change = LimitChange(number=" 5 ", by="ann", reason="a second GPU", seconds=7200)
    result = await change_limit(declared, "gpu/a", change)
    assert (result.status, str(result.message)) == (Status.DONE, "5 at once for 2 h, declared: 2 at once")
    (changed,) = await changed_limits(declared)
    override = changed.override
    assert (override.id, override.by, override.reason, override.max) == ("gpu/a", "ann", "a second GPU", 5)
    assert override.until == clock() + 7200
    assert changed.declared is not None
    assert changed.document()["declared"] == {"max": 2, "window": None, "burst": None}


@pytest.mark.parametrize(
    ("name", "number", "numbers"),
    [("sms", "5/s", (5, 1.0, 5)), ("smooth", "100/15 minutes", (100, 900.0, 5)), ("smooth", "2/hour", (2, 3600.0, 2))],
)
async def test_changed_rate_keeps_its_declared_burst_as_far_as_it_fits(
    declared: Store, name: str, number: str, numbers: tuple[int, float, int]
) -> None:
    override = await planned_override(declared, name, LimitChange(number=number))
    assert (override.max, override.window, override.burst) == numbers


@pytest.mark.parametrize(
    ("name", "number", "sentence"),
    [
        ("gpu", "0", "A limit is at least 1. To let no job start, pause its queue or its task."),
        ("gpu", "many", "'many': write a number of jobs, e.g. 5, or a rate, e.g. 20/minute."),
        ("gpu", "-1", "'-1': write a number"),
        ("gpu", "٣", "write a number"),
        ("gpu", "9" * 30, "use at most"),
        ("gpu", "20/minute", "The limit 'gpu' counts jobs: write a number, e.g. 5."),
        ("sms", "20", "The limit 'sms' counts starts or submits per time: write a rate, e.g. 20/minute."),
    ],
)
async def test_number_that_makes_no_sense_is_refused(declared: Store, name: str, number: str, sentence: str) -> None:
    with pytest.raises(ArgumentsError) as refused:
        await change_limit(declared, name, LimitChange(number=number))
    assert sentence in str(refused.value)
    assert await changed_limits(declared) == []


@pytest.mark.parametrize(("seconds", "sentence"), [(0.0, "has passed"), (91 * 86_400.0, "at most 90 days")])
async def test_end_that_makes_no_sense_is_refused(declared: Store, seconds: float, sentence: str) -> None:
    with pytest.raises(ArgumentsError, match=sentence):
        await change_limit(declared, "gpu", LimitChange(number="5", seconds=seconds))


@pytest.mark.parametrize("key", ["k" * 513, "\ud800"])
async def test_key_that_no_job_can_have_is_refused(declared: Store, key: str) -> None:
    with pytest.raises(ArgumentsError, match="at most 512 characters"):
        await change_limit(declared, f"gpu/{key}", LimitChange(number="5"))


async def test_limit_that_no_lane_declares_and_no_job_uses_is_unknown(declared: Store) -> None:
    with pytest.raises(UnknownLimit, match=r"There is no limit 'gpus'\. Known limits: gpu, smooth, sms\."):
        await change_limit(declared, "gpus/a", LimitChange(number="5"))


async def test_limit_that_only_jobs_have_can_be_changed(store: Store) -> None:
    await submit(store, *specs("a", limits=(slot_limit(1, "reject"), rate_limit(1, 60.0, "reject"))))
    assert str((await change_limit(store, "few", LimitChange(number="5"))).message) == "5 at once"
    assert str((await change_limit(store, "often/k", LimitChange(number="5/s"))).message) == "5 per 1.0 s"
    with pytest.raises(ArgumentsError, match="write a rate"):
        await change_limit(store, "often", LimitChange(number="5"))


async def test_limit_that_was_changed_can_be_changed_again_though_no_job_has_it(store: Store) -> None:
    await store.override_limit(LimitOverride(name="sms", max=1, window=60.0, since=0.0))
    assert str((await change_limit(store, "sms", LimitChange(number="5/s"))).message) == "5 per 1.0 s"
    with pytest.raises(UnknownLimit, match="Known limits: sms"):
        await change_limit(store, "smss", LimitChange(number="5/s"))


async def test_change_of_one_key_comes_before_that_of_all(declared: Store) -> None:
    await change_limit(declared, "gpu", LimitChange(number="5"))
    await change_limit(declared, "gpu/a", LimitChange(number="6"))
    changed = await changed_limits(declared)
    assert [change.override.max for each in ("gpu/a", "gpu/b") if (change := change_in_force(changed, each))] == [6, 5]
    assert change_in_force(changed, "sms/a") is None


async def test_restored_limit_has_no_change(declared: Store) -> None:
    await change_limit(declared, "gpu", LimitChange(number="5"))
    assert str((await restore_limit(declared, "gpu")).message) == "the declared number is in force"
    assert str((await restore_limit(declared, "gpu")).message) == "unchanged: it had its declared number"
    assert await changed_limits(declared) == []


async def test_too_many_changed_limits_are_refused(declared: Store) -> None:
    for number in range(MAX_OVERRIDES):
        await declared.override_limit(LimitOverride(name="gpu", key=str(number), max=5, since=0.0))
    with pytest.raises(TooManyChangedLimits, match="restore some"):
        await change_limit(declared, "gpu", LimitChange(number="5"))
