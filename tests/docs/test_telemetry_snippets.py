"""Snippets of the page about telemetry run as written."""

from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import sidelane.telemetry
from sidelane import JobFailed, Sidelane
from sidelane.telemetry import PROCESS_FIGURES, AttemptEnded, TelemetryEvent, Usage
from sidelane.testing import harness
from tests.docs.test_more_snippets import ROOT, lane, names, run

__all__ = ["lane", "names"]

PAGE = "telemetry.md"


def test_every_report_is_described() -> None:
    text = (ROOT / "docs" / PAGE).read_text("utf-8")
    kinds = [each.__name__ for each in sidelane.telemetry.port.ALL_KINDS]
    assert [kind for kind in kinds if f"`{kind}`" not in text] == []


async def test_listener_of_the_page_counts_failures(lane: Sidelane, names: dict[str, Any]) -> None:
    @lane.task
    async def fail() -> None:
        raise ValueError

    text = (ROOT / "docs" / PAGE).read_text("utf-8")
    assert "unsubscribe()" in text
    async with harness(lane) as t:
        await run(PAGE, "count_failures", names)
        unsubscribe = lane.telemetry.subscribe(names["count_failures"], AttemptEnded)
        with pytest.raises(JobFailed):
            await t.run(fail.call())
        unsubscribe()
    assert names["failed"] == 1
    assert not lane.telemetry.active


async def test_usage_snippet_runs(lane: Sidelane, names: dict[str, Any]) -> None:
    async def complete(question: str) -> SimpleNamespace:
        return SimpleNamespace(text=question, input_tokens=3, output_tokens=2)

    names["complete"] = complete
    await run(PAGE, "ctx.report_usage", names)
    reported: list[TelemetryEvent] = []
    async with harness(lane) as t:
        lane.telemetry.subscribe(reported.append, AttemptEnded)
        assert await t.run(names["answer"].call("Why?")) == "Why?"
    (ended,) = reported
    assert isinstance(ended, AttemptEnded)
    assert ended.usage == Usage(input_tokens=3, output_tokens=2, cost=0.002)


async def test_request_metrics_snippet_runs(names: dict[str, Any]) -> None:
    app = names["app"] = FastAPI()

    @app.get("/chat/{session}")
    async def chat(session: str) -> str:
        return session

    await run(PAGE, "add_middleware", names)
    before = PROCESS_FIGURES.requests["GET", "/chat/{session}", 200]
    with TestClient(app) as client:
        client.get("/chat/1")
    assert PROCESS_FIGURES.requests["GET", "/chat/{session}", 200] == before + 1


async def test_figures_snippet_runs(lane: Sidelane, names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    PROCESS_FIGURES.store_seconds.observe("claim", 0.001)
    await run(PAGE, "PROCESS_FIGURES.listen", names)
    assert "Counter" in capsys.readouterr().out
    assert not lane.telemetry.active
