"""Snippets of the page about Langfuse run as written."""

from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

from openai import AsyncOpenAI
from pydantic import BaseModel

from sidelane import Sidelane, llm_span
from sidelane.model.history import Usage
from sidelane.testing import harness
from tests.docs.test_more_snippets import lane, names, run
from tests.tasks.test_llm_span import streamed

__all__ = ["lane", "names"]

PAGE = "langfuse.md"


class Question(BaseModel):
    session: str
    text: str


async def test_a_stream_of_openai_is_recorded(lane: Sidelane, names: dict[str, Any]) -> None:
    async def create(**arguments: Any) -> AsyncIterator[Any]:
        async def chunks() -> AsyncIterator[Any]:
            for each in streamed():
                yield each

        assert arguments["messages"][0]["content"] == "Hello?"
        return chunks()

    async def openai() -> Any:
        return SimpleNamespace(chat=SimpleNamespace(completions=SimpleNamespace(create=create)))

    names |= {"Question": Question, "AsyncOpenAI": AsyncOpenAI, "AsyncIterator": AsyncIterator}
    names["openai"] = lane.resource(openai)
    await run(PAGE, 'llm_span("chat", model="gpt-4o"', names)
    async with harness(lane) as t:
        job = await names["answer"].submit(Question(session="s1", text="Hello?"))
        await t.drain()
        assert await job.result() == "Good morning"
        assert (await job.record()).usage == Usage(input_tokens=11, output_tokens=2)


async def test_any_other_client_tells_its_numbers(lane: Sidelane, names: dict[str, Any]) -> None:
    class Client:
        async def complete(self, text: str) -> SimpleNamespace:
            return SimpleNamespace(text=text.upper(), tokens_in=5, tokens_out=3, price=0.01)

    async def client() -> Client:
        return Client()

    names |= {"Client": Client, "client": lane.resource(client)}
    await run(PAGE, "reply.tokens_in", names)
    async with harness(lane) as t:
        job = await names["summarise"].submit("short")
        await t.drain()
        assert await job.result() == "SHORT"
        assert (await job.record()).usage == Usage(input_tokens=5, output_tokens=3, cost=0.01)


async def test_prompt_and_answer_are_recorded_on_demand(names: dict[str, Any]) -> None:
    with llm_span("chat", model="gpt-4o", provider="openai") as call:
        names |= {"call": call, "messages": [{"role": "user", "content": "Hello?"}], "text": "Hello."}
        await run(PAGE, "call.output(text)", names)
