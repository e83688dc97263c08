"""Validation: what a store cannot keep is rejected before anything is written."""

import math
from typing import Any

import pytest

from sidelane.model.job import FollowUp, JobSpec, State
from sidelane.model.limit import Limit
from sidelane.stores.validation import spec_problem

HALF = "\ud800"


def limit(**changes: Any) -> dict[str, Any]:
    return {"limits": (Limit(**{"name": "few", "key": "k", "most": 1, **changes}),)}


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        (limit(key=HALF), "key '\\ud800' of the limit 'few' cannot be written"),
        (limit(name=HALF), "cannot be written"),
        (limit(most=0), "use 1 to"),
        (limit(most=2**70), "use 1 to"),
        (limit(window=1.0, burst=0), "use 1 to"),
        (limit(window=0.0), "not a positive number of seconds"),
        (limit(window=math.nan), "not a positive number of seconds"),
        ({"batch": HALF}, "The batch '\\ud800' cannot be written"),
        ({"max_queued": 2**70}, "is too large"),
    ],
)
def test_values_that_a_store_cannot_write_are_rejected_by_name(asked: dict[str, Any], said: str) -> None:
    for spec in (
        JobSpec(id="j", task="t", **asked),
        JobSpec(id="j", task="t", follow_ups=(FollowUp(frozenset({State.FAILED}), JobSpec(id="", task="t", **asked)),)),
    ):
        problem = spec_problem(spec)
        assert problem is not None
        assert problem.status == 422
        assert said in (problem.detail or "")


def test_common_limits_batches_and_bounds_are_accepted() -> None:
    for asked in (limit(key="é"), limit(window=0.5, burst=3), {"batch": "b", "max_queued": 0}):
        assert spec_problem(JobSpec(id="j", task="t", **asked)) is None
