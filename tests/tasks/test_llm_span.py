"""`llm_span`: what it reads from the objects of providers, its span, and its figures."""

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from openai.types import CompletionUsage
from openai.types.chat import ChatCompletionChunk, ChatCompletionMessage
from openai.types.chat.chat_completion_chunk import Choice, ChoiceDelta

from sidelane import JobFailed, Sidelane, llm_span
from sidelane.model.history import MAX_USAGE, NO_USAGE, Usage
from sidelane.tasks.llm_span import MAX_CONTENT, LlmSpan
from sidelane.telemetry.tracer import NO_ATTRIBUTES, Attributes, Span, SpanKind, Tracer
from sidelane.testing import Harness, harness


@dataclass
class RecordedSpan(Span):
    name: str
    kind: SpanKind
    attributes: dict[str, Any]
    failure: str = ""
    ended: bool = False

    def set(self, attributes: Attributes) -> None:
        self.attributes |= attributes

    def fail(self, description: str, error_type: str = "") -> None:
        self.failure, self.attributes["error.type"] = description, error_type

    def end(self) -> None:
        self.ended = True


@dataclass
class RecordingTracer(Tracer):
    """A tracer that keeps its spans."""

    spans: list[RecordedSpan] = field(default_factory=list)
    active = True

    def start(
        self,
        name: str,
        *,
        kind: SpanKind = SpanKind.INTERNAL,
        parent: str | None = None,
        links: Sequence[str] = (),
        attributes: Attributes = NO_ATTRIBUTES,
        started: float | None = None,
    ) -> Span:
        self.spans.append(RecordedSpan(name, kind, dict(attributes)))
        return self.spans[-1]

    def of_llm(self) -> RecordedSpan:
        """Return the only span of a call of a language model."""
        (found,) = (each for each in self.spans if "gen_ai.operation.name" in each.attributes)
        return found


@asynccontextmanager
async def traced(lane: Sidelane) -> AsyncIterator[tuple[Harness, RecordingTracer]]:
    """Open a lane whose spans are kept."""
    async with harness(lane) as t:
        lane.telemetry.tracer = tracer = RecordingTracer()
        yield t, tracer


def chunk(
    delta: ChoiceDelta | None = None, *, model: str = "gpt-4o-2024-08-06", usage: CompletionUsage | None = None
) -> ChatCompletionChunk:
    """Return a chunk as OpenAI's client does. The last has only the usage."""
    choices = [] if delta is None else [Choice(delta=delta, index=0)]
    return ChatCompletionChunk(
        id="c1", choices=choices, created=0, model=model, object="chat.completion.chunk", usage=usage
    )


def streamed() -> Iterator[ChatCompletionChunk]:
    yield chunk(ChoiceDelta(role="assistant", content=""))
    yield chunk(ChoiceDelta(content="Good"))
    yield chunk(ChoiceDelta(content=" morning"))
    yield chunk(usage=CompletionUsage(prompt_tokens=11, completion_tokens=2, total_tokens=13))


async def test_a_streaming_task_records_model_user_conversation_tokens_and_first_token(lane: Sidelane) -> None:
    @lane.task
    async def answer() -> AsyncIterator[str]:
        with llm_span("chat", model="gpt-4o", provider="openai", conversation="session-7") as call:
            for part in streamed():
                call.response(part)
                yield part.choices[0].delta.content or "" if part.choices else ""
            call.usage(cost=0.002)

    async with traced(lane) as (t, tracer):
        job = await answer.options(user="ann").submit()
        await t.drain()
        assert (await job.record()).usage == Usage(input_tokens=11, output_tokens=2, cost=0.002)
    span = tracer.of_llm()
    assert (span.name, span.kind, span.failure, span.ended) == ("chat gpt-4o", SpanKind.CLIENT, "", True)
    first = span.attributes.pop("gen_ai.response.time_to_first_chunk")
    assert 0 < first < 5
    assert span.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-4o",
        "gen_ai.response.model": "gpt-4o-2024-08-06",
        "gen_ai.conversation.id": "session-7",
        "gen_ai.usage.input_tokens": 11,
        "gen_ai.usage.output_tokens": 2,
        "gen_ai.usage.cost": 0.002,
        "user.id": "ann",
    }


async def test_a_failed_call_is_counted_and_names_its_error(lane: Sidelane) -> None:
    @lane.task
    async def answer() -> None:
        with llm_span("chat", model="gpt-4o", provider="openai") as call:
            call.usage(input_tokens=5)
            raise ConnectionResetError("the provider hung up")

    async with traced(lane) as (t, tracer):
        job = await answer.submit()
        await t.drain()
        with pytest.raises(JobFailed):
            await job.result()
        assert (await job.record()).usage == Usage(input_tokens=5)
    span = tracer.of_llm()
    assert (span.attributes["error.type"], span.failure) == (
        "ConnectionResetError",
        "ConnectionResetError: the provider hung up",
    )


async def test_calls_of_one_attempt_are_added_up(lane: Sidelane) -> None:
    @lane.task
    async def agent() -> None:
        for tokens in (3, 4):
            with llm_span("chat", model="gpt-4o", provider="openai") as call:
                call.usage(output_tokens=tokens)

    async with harness(lane) as t:
        job = await agent.submit()
        await t.drain()
        assert (await job.record()).usage == Usage(output_tokens=7)


async def test_a_stopped_generator_in_a_thread_ends_its_span_and_counts(lane: Sidelane) -> None:
    @lane.task
    def wrong() -> Iterator[Any]:
        with llm_span("chat", model="gpt-4o", provider="openai") as call:
            call.usage(output_tokens=9)
            yield 1  # not an item that a task may yield

    async with traced(lane) as (t, tracer):
        job = await wrong.submit()
        await t.drain()
        assert (await job.record()).usage == Usage(output_tokens=9)
    span = tracer.of_llm()
    assert (span.attributes["error.type"], span.ended) == ("GeneratorExit", True)


def test_outside_of_an_attempt_it_does_nothing() -> None:
    with llm_span("chat", model="gpt-4o", provider="openai") as call:
        call.response(chunk(ChoiceDelta(content="hello")))
        call.usage(input_tokens=1)
        call.input("hello")
    assert call.used == Usage(input_tokens=1)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (SimpleNamespace(prompt_tokens=3, completion_tokens=4), Usage(input_tokens=3, output_tokens=4)),
        (SimpleNamespace(input_tokens=3, output_tokens=4), Usage(input_tokens=3, output_tokens=4)),
        (SimpleNamespace(input_tokens=None, prompt_tokens=3), Usage(input_tokens=3)),
        (SimpleNamespace(input_tokens=-1, output_tokens=MAX_USAGE + 1), NO_USAGE),
        (SimpleNamespace(input_tokens="3", output_tokens=True), NO_USAGE),
        (SimpleNamespace(), NO_USAGE),
        (None, NO_USAGE),
    ],
)
def test_tokens_are_read_from_what_providers_answer(usage: object, expected: Usage) -> None:
    call = LlmSpan(recorded=False)
    call.response(SimpleNamespace(usage=usage, model=None))
    assert call.used == expected
    assert call.attributes.keys() <= {"gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"}


def test_later_numbers_of_a_stream_replace_earlier_ones() -> None:
    call = LlmSpan(recorded=False)
    for count in (1, 2, 3):  # some providers tell the tokens so far with each chunk
        call.response(SimpleNamespace(usage=SimpleNamespace(prompt_tokens=10, completion_tokens=count)))
    call.usage(cost=0.5)
    assert call.used == Usage(input_tokens=10, output_tokens=3, cost=0.5)


def test_wrong_usage_of_the_task_raises() -> None:
    with pytest.raises(ValueError, match="whole number"):
        LlmSpan(recorded=False).usage(input_tokens=-1)


def test_the_first_token_is_that_of_the_first_chunk_with_text_or_a_tool_call() -> None:
    call = LlmSpan(recorded=False)
    call.response(chunk(ChoiceDelta(role="assistant", content="")))
    assert "gen_ai.response.time_to_first_chunk" not in call.attributes
    call.response(chunk(ChoiceDelta(content="Good")))
    first = call.attributes["gen_ai.response.time_to_first_chunk"]
    call.first_token()
    assert call.attributes["gen_ai.response.time_to_first_chunk"] == first


def test_messages_are_written_as_the_conventions_want_them() -> None:
    call = LlmSpan(recorded=True)
    tool = ChatCompletionMessage(role="assistant", content=None)
    call.input([{"role": "system", "content": "Be kind."}, tool, {"role": "user", "content": [{"type": "image_url"}]}])
    call.output("안녕하세요 \ud800")
    assert call.attributes["gen_ai.input.messages"] == (
        '[{"role": "system", "parts": [{"type": "text", "content": "Be kind."}]}, {"role": "assistant", "parts": []}, '
        '{"role": "user", "parts": [{"type": "image_url"}]}]'
    )
    assert call.attributes["gen_ai.output.messages"] == (
        '[{"role": "assistant", "parts": [{"type": "text", "content": "안녕하세요 \\ud800"}]}]'
    )


def test_content_that_has_no_json_form_never_fails_a_task() -> None:
    call = LlmSpan(recorded=True)
    call.input([{"role": "user", "content": [b"audio", {("a", "b"): 1}]}])
    assert call.attributes["gen_ai.input.messages"] == '[{"role": "user", "parts": ["b\'audio\'", {}]}]'


def test_long_messages_are_cut_off() -> None:
    call = LlmSpan(recorded=True)
    call.input("x" * MAX_CONTENT)
    assert len(str(call.attributes["gen_ai.input.messages"])) == MAX_CONTENT


def test_messages_are_kept_only_for_a_span() -> None:
    call = LlmSpan(recorded=False)
    call.input("hello")
    assert not call.attributes
