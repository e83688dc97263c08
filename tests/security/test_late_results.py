"""Results of external workers for an attempt that has ended: a repeat is accepted, anything else is a 409."""

from typing import Any

from sidelane import Fixed, Retry
from tests.web.test_completion_routes import Report, Scenario, scenario, with_fields

__all__ = ["scenario"]

RESULT, PROBLEM = {"result": {"score": 0.5}}, {"problem": {"status": 503}}
retried = with_fields(retry=Retry(attempts=2, backoff=Fixed(0)))


async def statuses(scenario: Scenario, offer: Any, *bodies: Any) -> list[int]:
    return [(await scenario.post(offer, body)).status_code for body in bodies]


async def test_result_after_a_problem_is_409_and_a_repeated_problem_is_not(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    assert await statuses(scenario, offer, PROBLEM, PROBLEM, RESULT, PROBLEM) == [204, 204, 409, 204]
    assert (await job.record()).state == "failed"


async def test_problem_after_a_result_is_409_and_a_repeated_result_is_not(scenario: Scenario) -> None:
    job, offer = await scenario.dispatch()
    assert await statuses(scenario, offer, RESULT, RESULT, PROBLEM, RESULT) == [204, 204, 409, 204]
    assert await job.result(timeout=0) == Report(score=0.5)


@retried
async def test_result_of_an_attempt_that_will_be_retried_is_409(scenario: Scenario) -> None:
    job, first = await scenario.dispatch()
    assert await statuses(scenario, first, PROBLEM, RESULT) == [204, 409]
    await scenario.t.drain()
    (second,) = await scenario.t.dispatched(scenario.task)
    assert await statuses(scenario, first, RESULT) == [409]
    assert await statuses(scenario, second, RESULT) == [204]
    assert await statuses(scenario, first, RESULT, PROBLEM) == [409, 409]
    assert await job.result(timeout=0) == Report(score=0.5)


async def test_invalid_result_after_the_end_is_judged_like_a_problem(scenario: Scenario) -> None:
    _, offer = await scenario.dispatch()
    wrong = {"result": {"score": "high"}}
    assert await statuses(scenario, offer, wrong, wrong, RESULT) == [422, 422, 409]
    _, offer = await scenario.dispatch()
    assert await statuses(scenario, offer, RESULT, wrong) == [204, 409]
