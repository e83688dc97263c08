"""Dependencies declared in a module whose annotations are text: `from __future__ import annotations`."""

from __future__ import annotations

from typing import Annotated

import pytest

from sidelane import Context, Resource, Sidelane, Use
from sidelane.model.errors import TaskDeclarationError
from sidelane.testing import harness

Early = Annotated[str, Use(Resource[str](lambda: "early"))]


async def test_annotations_that_are_text_declare_dependencies(lane: Sidelane) -> None:
    @lane.task
    async def answer(ctx: Context, question: str, early: Early) -> str:
        return f"{question} {ctx.task} {early}"

    async with harness(lane) as t:
        assert await t.run(answer.call(question="Why?")) == "Why? answer early"  # type: ignore[call-arg]


def test_a_resource_that_is_declared_below_its_task_is_refused_when_the_lane_loads(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    @lane.task
    async def answer(late: Late) -> None: ...  # type: ignore[name-defined]  # noqa: F821 - declared below

    monkeypatch.setitem(globals(), "Late", Annotated[str, Use(Resource[str](lambda: "late"))])
    with pytest.raises(TaskDeclarationError, match="what its parameter 'late' uses is declared below the task"):
        lane.load()
