"""The stock chat on a real language model, whose answers are generations in Langfuse."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from examples.stock_chat.conversations import Conversations
from examples.stock_chat.demo.processes import Processes
from examples.stock_chat.demo.service import start_model
from examples.stock_chat.lane import lane
from examples.stock_chat.tasks import MAX_ANSWER, MODEL, Question, answer
from tests.exporters.collector import Collector, collector

__all__ = ["collector"]

pytestmark = [pytest.mark.long, pytest.mark.llm, pytest.mark.timeout(300)]

QUESTION = Question(
    session="session-7", user="ann", message="Is it dear?", stock_code="990010", stock_name="Hanbit Chips"
)


@pytest.fixture
async def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """A server with the HTTP API of OpenAI, and the variables that name it."""
    processes = Processes(tmp_path)
    monkeypatch.setenv("OPENAI_BASE_URL", await start_model(processes))
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    yield
    await processes.stop()


@pytest.mark.row("R16")
@pytest.mark.usefixtures("model")
async def test_answer_of_an_openai_compatible_server_is_a_generation(
    collector: Collector, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"BASE_URL": collector.url, "PUBLIC_KEY": "pk-lf-1", "SECRET_KEY": "sk-lf-1"}.items():
        monkeypatch.setenv(f"LANGFUSE_{name}", value)
    settings = lane.configuration.settings.__dict__
    monkeypatch.setitem(settings, "store", f"sqlite:///{tmp_path / 'jobs.db'}")
    monkeypatch.setitem(settings, "traces", "langfuse")
    monkeypatch.setattr("examples.stock_chat.tasks.conversations", Conversations(tmp_path / "messages.db"))
    async with lane.open(workers=1):
        job = await answer.options(user="ann").submit(QUESTION)
        await job.result(timeout=120)
        usage = (await job.record()).usage
    generation = await collector.span(f"chat {MODEL}")
    assert generation.attributes["gen_ai.usage.output_tokens"] == usage.output_tokens == MAX_ANSWER
    assert generation.attributes["gen_ai.usage.input_tokens"] == usage.input_tokens > 0
    assert (generation.attributes["user.id"], generation.attributes["session.id"]) == ("ann", "session-7")
    assert 0 < generation.attributes["gen_ai.response.time_to_first_chunk"] < generation.ended - generation.started
    assert (await collector.span("process chat", job.id)).id == generation.parent
