"""Snippets of the page about traces run as written."""

from typing import Any

from sidelane import Context, Sidelane, Use
from sidelane.testing import harness
from tests.docs.test_more_snippets import lane, names, run
from tests.exporters.collector import Collector, collector

__all__ = ["collector", "lane", "names"]

PAGE = "tracing.md"


async def test_the_span_of_the_page_is_below_its_attempt(
    names: dict[str, Any], collector: Collector, tmp_path: Any
) -> None:
    async def search(question: str) -> list[str]:
        return [question]

    async def complete(question: str, found: list[str]) -> str:
        return f"{question} {len(found)}"

    traced = Sidelane(store=f"sqlite:///{tmp_path / 'traced.db'}", settings={"traces": "otlp"})
    names |= {"lane": traced, "search": search, "complete": complete}
    await run(PAGE, "ctx.tracer.span", names)
    async with harness(traced) as t:
        assert await t.run(names["answer"].call("Why?")) == "Why? 1"
    span, attempt = await collector.span("search"), await collector.span("process default")
    assert (span.trace, span.parent) == (attempt.trace, attempt.id)
    assert span.attributes == {"app.sources": 3, "app.found": 1}


async def test_the_header_of_the_page_is_the_traceparent_of_the_attempt(
    names: dict[str, Any], collector: Collector, tmp_path: Any
) -> None:
    traced = Sidelane(store=f"sqlite:///{tmp_path / 'traced.db'}", settings={"traces": "otlp"})

    @traced.task
    async def call(ctx: Context = Use(Context)) -> str:
        names["ctx"] = ctx
        await run(PAGE, "headers = {", names)
        return str(names["headers"]["traceparent"])

    async with harness(traced) as t:
        traceparent = await t.run(call.call())
    assert traceparent == (await collector.span("process default")).traceparent
