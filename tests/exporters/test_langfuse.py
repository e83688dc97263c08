"""Langfuse: its variables, the ids that it accepts, and what it gets from a real worker."""

import base64
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from sidelane import ConfigurationError, JobFailed, Sidelane, Task
from sidelane.exporters.langfuse import MAX_ID, langfuse_id, langfuse_resource
from sidelane.model.history import Usage
from tests.exporters import langfuse_app as app
from tests.exporters.collector import Collector, collector

__all__ = ["collector"]

TIMEOUT = 30.0

VARIABLES = {
    "LANGFUSE_BASE_URL": "https://langfuse.example",
    "LANGFUSE_PUBLIC_KEY": "pk-lf-1",
    "LANGFUSE_SECRET_KEY": "sk-lf-1",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """An environment with all variables."""
    monkeypatch.delenv("LANGFUSE_HOST", raising=False)
    for name, value in VARIABLES.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.mark.parametrize("missing", [["LANGFUSE_BASE_URL"], ["LANGFUSE_PUBLIC_KEY", "LANGFUSE_SECRET_KEY"]])
async def test_a_lane_does_not_open_without_the_variables(
    environment: pytest.MonkeyPatch, missing: list[str], tmp_path: Path
) -> None:
    for name in missing:
        environment.delenv(name)
    lane = Sidelane(store=f"sqlite:///{tmp_path / 'jobs.db'}", settings={"traces": "langfuse"})
    with pytest.raises(ConfigurationError, match=f"SIDELANE_TRACES=langfuse needs {' and '.join(missing)}: copy"):
        async with lane.open():
            pass


async def test_an_address_without_a_scheme_is_refused(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    environment.setenv("LANGFUSE_BASE_URL", "cloud.langfuse.com")
    lane = Sidelane(store=f"sqlite:///{tmp_path / 'jobs.db'}", settings={"traces": "langfuse"})
    with pytest.raises(ConfigurationError, match="an address starts with https://"):
        async with lane.open():
            pass


@pytest.mark.parametrize("name", ["ann", "ann@shop.example", "x" * MAX_ID, "with spaces"])
def test_an_id_that_langfuse_accepts_stays_as_it_is(name: str) -> None:
    assert langfuse_id(name) == name


@pytest.mark.parametrize(
    ("name", "readable"),
    [
        ("x" * 300, "x" * 167 + "-"),
        ("김철수", ""),
        ("kim@한국.kr", "kim@.kr-"),
        ("ann\n\x00\x1b[31m", "ann[31m-"),
        ("half a pair \ud800", "half a pair -"),
    ],
)
def test_any_other_id_is_its_printable_part_and_a_hash(name: str, readable: str) -> None:
    accepted = langfuse_id(name)
    assert accepted[:-32] == readable
    assert len(accepted) <= MAX_ID
    assert accepted.isascii()
    assert accepted.isprintable()
    assert accepted == langfuse_id(name) != langfuse_id(name + "2")


def test_release_and_environment_are_told_if_they_are_set() -> None:
    assert langfuse_resource({}, "") == {}
    assert langfuse_resource({"LANGFUSE_TRACING_ENVIRONMENT": "staging"}, "8ac11e0") == {
        "langfuse.environment": "staging",
        "langfuse.release": "8ac11e0",
    }


@pytest.fixture
def receiver(collector: Collector, environment: pytest.MonkeyPatch, tmp_path: Path) -> Collector:
    """A collector that stands for Langfuse, to which the processes of the lane send, on a new SQLite file."""
    app.lane.configuration.settings.__dict__.update(store=f"sqlite:///{tmp_path / 'jobs.db'}")
    environment.delenv("OTEL_EXPORTER_OTLP_ENDPOINT")
    environment.setenv("LANGFUSE_BASE_URL", collector.url + "/")
    environment.setenv("LANGFUSE_TRACING_ENVIRONMENT", "staging")
    return collector


@pytest.mark.parametrize("task", [app.stream, app.stream_in_thread, app.stream_in_process])
async def test_generation_arrives_with_user_session_model_tokens_cost_and_first_token(
    receiver: Collector, task: Task[..., Any, Any]
) -> None:
    async with app.lane.open(workers=1):
        job = await task.options(user="ann").submit("session-7")
        await job.result(TIMEOUT)
        assert (await job.record()).usage == Usage(input_tokens=11, output_tokens=2, cost=0.002)
    generation, attempt = await receiver.span("chat gpt-4o"), await receiver.span("process default")
    assert (generation.trace, generation.parent) == (attempt.trace, attempt.id)
    assert generation.kind == "CLIENT"
    first_token = generation.attributes.pop("gen_ai.response.time_to_first_chunk")
    written = datetime.fromisoformat(generation.attributes.pop("langfuse.observation.completion_start_time"))
    assert written.timestamp() == pytest.approx(generation.started + first_token, abs=0.002)
    assert generation.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cost": 0.002,
        "gen_ai.conversation.id": "session-7",
        "session.id": "session-7",
        "user.id": "ann",
    }
    assert (attempt.attributes["user.id"], attempt.attributes["langfuse.trace.name"]) == ("ann", task.name)
    assert attempt.resource.items() >= {"langfuse.release": "8ac11e0", "langfuse.environment": "staging"}.items()


async def test_requests_have_the_keys_and_the_version(receiver: Collector) -> None:
    async with app.lane.open(workers=1):
        await (await app.stream.submit("s")).result(TIMEOUT)
    assert receiver.spans
    keys = base64.b64encode(b"pk-lf-1:sk-lf-1").decode()
    for headers in receiver.headers:
        sent = {name.lower(): value for name, value in headers.items()}
        assert (sent["authorization"], sent["x-langfuse-ingestion-version"]) == (f"Basic {keys}", "4")
    assert set(receiver.paths) == {"/api/public/otel/v1/traces"}


async def test_hostile_ids_lose_no_span_of_any_user(receiver: Collector) -> None:
    users = ["x" * 300, "김철수", "ann\n\x00", "ann"]
    async with app.lane.open(workers=1):
        for user in users:
            await (await app.stream.options(user=user).submit(user)).result(TIMEOUT)
    generations = receiver.named("chat gpt-4o")
    assert [each.attributes["user.id"] for each in generations] == list(map(langfuse_id, users))
    assert [each.attributes["session.id"] for each in generations] == list(map(langfuse_id, users))
    assert len(receiver.named("process default")) == len(users)


async def test_failed_call_is_an_error_whatever_its_message(
    receiver: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("CRITICAL", "sidelane")  # the report of a parallel run cannot contain the message
    async with app.lane.open(workers=1):
        with pytest.raises(JobFailed):
            await (await app.fail.submit("s")).result(TIMEOUT)
    generation = await receiver.span("chat gpt-4o")
    assert (generation.failed, generation.attributes["error.type"]) == (True, "ConnectionError")
    assert (await receiver.span("process default")).failed


@pytest.mark.parametrize(("task", "error"), [(app.stall, "CancelledError"), (app.stall_in_thread, "GeneratorExit")])
async def test_stream_that_is_stopped_ends_its_generation_and_counts(
    receiver: Collector, task: Task[..., Any, Any], error: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with app.lane.open(workers=1):
        job = await task.submit()
        with pytest.raises(JobFailed):
            await job.result(TIMEOUT)
        assert (await job.record()).usage == Usage(output_tokens=1)
    generation = await receiver.span("chat gpt-4o")
    assert (generation.failed, generation.attributes["error.type"]) == (True, error)
    assert not [record for record in caplog.records if record.name.startswith("opentelemetry")]
