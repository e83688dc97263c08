"""What the attempts of a job have logged, if its task is declared with `keep_logs=True`."""

import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

from sidelane.admin.documents import Document
from sidelane.client.client import Client
from sidelane.client.event_stream import read_all, stream_pages


async def job_logs(
    client: Client, job_id: str, *, attempt: int | None = None, follow: bool = False
) -> AsyncGenerator[Document, None]:
    """Yield the records of a job, or of one attempt, as in JSON logs. With `follow`, go on until the job ends.

    Raises `UnknownJob` or `JobRemoved`.
    """
    await client.record(job_id)
    async with aclosing(_pages(client, job_id, follow=follow)) as pages:
        async for page in pages:
            for record in page:
                if attempt is None or record["attempt"] == attempt:
                    yield record


async def _pages(client: Client, job_id: str, *, follow: bool) -> AsyncGenerator[list[Document], None]:
    if not follow:
        yield [json.loads(event.data) for event in await read_all(client.store, job_id, logs=True)]
        return
    async with aclosing(stream_pages(client.store, job_id, logs=True)) as pages:
        async for events in pages:
            yield [json.loads(event.data) for event in events]
