"""What a worker fills in, declared by annotation as in FastAPI: `Annotated[T, Use(…)]` and `ctx: Context`.

A type checker sees such a parameter as one that a call passes.
"""

from collections.abc import AsyncIterator
from typing import Annotated

import pytest

from sidelane import ArgumentsError, ConcurrencyLimit, Context, FinishedJob, Sidelane, Use
from sidelane.model.errors import TaskDeclarationError
from sidelane.testing import harness


async def test_a_context_needs_no_default(lane: Sidelane) -> None:
    @lane.task
    async def answer(ctx: Context, question: str) -> str:
        return f"{question} {ctx.task}"

    async with harness(lane) as t:
        assert await t.run(answer.call("Why?")) == "Why? answer"  # type: ignore[call-arg, arg-type]
        assert await t.run(answer.call(question="Why?")) == "Why? answer"  # type: ignore[call-arg]


async def test_an_annotation_declares_the_resource_of_a_task(lane: Sidelane) -> None:
    @lane.resource
    async def client() -> AsyncIterator[str]:
        yield "client"

    Client = Annotated[str, Use(client)]  # noqa: N806 - a type, as a module would name it

    @lane.resource(scope="attempt")
    async def session(client: Client, ctx: Context) -> str:
        return f"{client} of {ctx.user}"

    @lane.task
    def answer(question: str, session: Annotated[str, "documented", Use(session)], client: Client = "none") -> str:
        return f"{question} {session}, {client}"

    async with harness(lane) as t:
        call = answer.options(user="u7").call("Why?")  # type: ignore[call-arg]
        assert await t.run(call) == "Why? client of u7, client"


async def test_an_annotated_context_is_filled_in_whatever_its_default(lane: Sidelane) -> None:
    @lane.task
    async def look(ctx: Annotated[Context, "of the attempt"] = None) -> str:  # type: ignore[assignment]
        return ctx.task

    async with harness(lane) as t:
        assert await t.run(look.call()) == "look"


def test_a_call_cannot_pass_what_an_annotation_declares(lane: Sidelane) -> None:
    @lane.task
    async def answer(question: str, ctx: Context) -> None: ...

    with pytest.raises(ArgumentsError, match="'ctx' is filled in by the worker; a call cannot pass it"):
        answer.call("Why?", ctx=None)  # type: ignore[arg-type]
    with pytest.raises(ArgumentsError, match="answer: too many positional arguments"):
        answer.call("Why?", None)  # type: ignore[arg-type]


def test_an_annotated_dependency_is_no_argument_of_a_limit_or_a_dead_letter(lane: Sidelane) -> None:
    @lane.task(limits=[ConcurrencyLimit(1, per=lambda question: question)])
    async def answer(ctx: Context, question: str) -> None: ...

    @lane.dead_letter
    async def letter(ctx: Context, letter: FinishedJob) -> None: ...

    (limit,) = answer.call(question="Why?").spec().limits  # type: ignore[call-arg]
    assert limit.key == "Why?"


def test_an_annotation_gives_a_process_resource_no_context(lane: Sidelane) -> None:
    with pytest.raises(TaskDeclarationError, match="cannot use Context"):

        @lane.resource
        async def client(ctx: Context) -> str:
            return ""


async def test_a_plain_call_passes_what_an_annotation_declares(lane: Sidelane) -> None:
    @lane.resource
    def client() -> str:
        return "real"

    @lane.task
    async def answer(question: str, client: Annotated[str, Use(client)]) -> str:
        return f"{question} {client}"

    assert await answer("Why?", "fake") == "Why? fake"
