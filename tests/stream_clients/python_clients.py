"""Unmodified Python clients of event streams, each used as its documentation shows: yields (id, event, data) to the end."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import httpx
from aiohttp_sse_client.client import EventSource
from httpx_sse import aconnect_sse

Seen = tuple[str, str, Any]

HEADERS = {"Accept": "text/event-stream"}


async def httpx_sse(url: str) -> AsyncIterator[Seen]:
    """Resume by hand: the client does not reconnect."""
    cursor = ""
    async with httpx.AsyncClient(trust_env=False, timeout=20) as client:
        while True:
            headers = {**HEADERS, **({"Last-Event-ID": cursor} if cursor else {})}
            try:
                async with aconnect_sse(client, "POST", url, headers=headers) as source:
                    async for event in source.aiter_sse():
                        cursor = event.id or cursor
                        yield event.id, event.event, json.loads(event.data)
                        if event.event == "end":
                            return
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.5)


async def aiohttp_sse_client(url: str) -> AsyncIterator[Seen]:
    """Submit, then follow `links.events`: the client reconnects by itself, with the last id."""
    async with aiohttp.ClientSession() as session:
        async with session.post(url) as submitted:
            link = (await submitted.json())["links"]["events"]
        async with EventSource(
            str(submitted.url.join(submitted.url.with_path(link))), session=session, max_connect_retry=50
        ) as source:
            async for event in source:
                yield event.last_event_id, event.type, json.loads(event.data)
                if event.type == "end":
                    return
