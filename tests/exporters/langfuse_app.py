"""A lane whose tasks call a language model, in all three modes. Child processes import it."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace

from sidelane import Sidelane, llm_span

lane = Sidelane(settings={"traces": "langfuse", "release": "8ac11e0"})

CHUNKS = (
    SimpleNamespace(model="gpt-4o-2024-08-06", choices=[SimpleNamespace(delta=SimpleNamespace(content="Good"))]),
    SimpleNamespace(usage=SimpleNamespace(prompt_tokens=11, completion_tokens=2)),
)


@lane.task
async def stream(conversation: str) -> AsyncIterator[str]:
    with llm_span("chat", model="gpt-4o", provider="openai", conversation=conversation) as call:
        for chunk in CHUNKS:
            call.response(chunk)
            yield "x"
        call.usage(cost=0.002)


@lane.task
def stream_in_thread(conversation: str) -> None:
    with llm_span("chat", model="gpt-4o", provider="openai", conversation=conversation) as call:
        for chunk in CHUNKS:
            call.response(chunk)
        call.usage(cost=0.002)


@lane.task(process=True)
def stream_in_process(conversation: str) -> None:
    with llm_span("chat", model="gpt-4o", provider="openai", conversation=conversation) as call:
        for chunk in CHUNKS:
            call.response(chunk)
        call.usage(cost=0.002)


@lane.task
async def fail(conversation: str) -> None:
    with llm_span("chat", model="gpt-4o", provider="openai", conversation=conversation):
        raise ConnectionError("half a pair: \ud800")


@lane.task(timeout=0.2, cancel_grace=1.0)
async def stall() -> AsyncIterator[str]:
    with llm_span("chat", model="gpt-4o", provider="openai") as call:
        call.usage(output_tokens=1)
        yield "x"
        await asyncio.sleep(60)


@lane.task(timeout=0.2, cancel_grace=1.0)
def stall_in_thread() -> Iterator[str]:
    with llm_span("chat", model="gpt-4o", provider="openai") as call:
        call.usage(output_tokens=1)
        while True:
            yield "x"
            time.sleep(0.01)
