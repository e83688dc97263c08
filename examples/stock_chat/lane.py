"""The lane of the stock chat: a leaf module, so that the app and the tasks never import each other."""

from collections.abc import AsyncIterator

from openai import AsyncOpenAI

from sidelane import Queue, Sidelane

lane = Sidelane(tasks=["examples.stock_chat.tasks"], queues=[Queue("chat")])


@lane.resource
async def model() -> AsyncIterator[AsyncOpenAI]:
    """The client of the language model, one per worker process; configured by OPENAI_BASE_URL and OPENAI_API_KEY."""
    async with AsyncOpenAI() as client:
        yield client
