"""The arguments of a finished job: as stored, by the names of their fields, and typed."""

import copy
import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.alias_generators import to_camel
from pydantic_core import to_json

from sidelane import FinishedJob, Sidelane, State
from sidelane.testing import harness

STORED = {"feedback": {"memberId": 3, "at": "2026-12-01T00:00:00Z", "parts": [{"partName": "a"}]}, "tags": {"a": 1}}


class Part(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    part_name: str


class Feedback(BaseModel):
    model_config = ConfigDict(alias_generator=to_camel, populate_by_name=True)
    member_id: int
    at: datetime
    parts: list[Part]


@dataclass
class Place:
    row: int


def check(arguments: dict[str, Any]) -> None:
    """Check that arguments are what is stored, and typed."""
    feedback = arguments["feedback"]
    assert arguments == STORED
    assert (feedback["memberId"], feedback["member_id"], feedback.member_id) == (3, 3, 3)
    assert feedback["parts"][0]["part_name"] == feedback["parts"][0]["partName"] == feedback.parts[0].part_name == "a"
    assert feedback["at"] == "2026-12-01T00:00:00Z"
    assert feedback.at == datetime(2026, 12, 1, tzinfo=UTC)
    assert "member_id" in feedback
    assert "other" not in feedback
    assert (feedback.get("member_id"), feedback.get("other", 7)) == (3, 7)
    assert to_json(arguments) == json.dumps(STORED, separators=(",", ":")).encode()
    assert copy.deepcopy(feedback).member_id == 3


async def test_a_dead_letter_handler_reads_arguments_by_either_name_and_typed(lane: Sidelane) -> None:
    letters: list[FinishedJob] = []

    @lane.task
    async def review(feedback: Feedback, tags: dict[str, int]) -> None:
        raise ValueError("no")

    @lane.dead_letter
    async def letter(letter: FinishedJob) -> None:
        letters.append(letter)

    async with harness(lane) as t:
        await review.submit(
            Feedback(member_id=3, at=datetime(2026, 12, 1, tzinfo=UTC), parts=[Part(part_name="a")]), {"a": 1}
        )
        await t.drain()
    (found,) = letters
    check(found.arguments)
    assert asdict(found)["arguments"] == STORED


def test_a_finished_job_that_a_call_passes_on_is_typed_there_too(lane: Sidelane) -> None:
    @lane.task
    async def review(feedback: Feedback, tags: dict[str, int]) -> None: ...

    @lane.task
    async def tell(job: FinishedJob) -> None: ...

    arguments = lane.registry.with_types("review", STORED)
    job = FinishedJob(id="i", task="review", queue="q", state=State.FAILED, attempts=1, arguments=arguments)
    check(tell.decode_arguments(tell.call(job).arguments, 1)["job"].arguments)


def test_arguments_that_do_not_fit_or_of_unknown_tasks_are_as_stored(lane: Sidelane) -> None:
    @lane.task
    async def review(feedback: Feedback) -> None: ...

    broken = {"feedback": {"memberId": "three"}}
    assert lane.registry.with_types("review", broken) is broken
    assert lane.registry.with_types("gone", STORED) is STORED


def test_arguments_that_were_filled_in_when_the_job_started_may_be_missing(lane: Sidelane) -> None:
    @lane.task
    async def review(first: Part, place: Place) -> None: ...

    arguments = lane.registry.with_types("review", {"place": {"row": 7}})
    assert (arguments["place"]["row"], arguments["place"].row) == (7, 7)
