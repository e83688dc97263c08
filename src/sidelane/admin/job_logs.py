"""What the attempts of a job have logged, if its task is declared with `keep_logs=True`."""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

from sidelane.admin.documents import Document
from sidelane.client.client import Client
from sidelane.client.event_stream import PAGE_SIZE, read_all, stream_pages
from sidelane.model.event import LOG
from sidelane.processes.json_logs import ATTEMPT_FIELDS
from sidelane.stores.contract import Store

NOT_FIELDS: Final = {"time", "level", "logger", "message", "exception", "stack", *ATTEMPT_FIELDS}
"""Members of every record. All others are fields of `extra`."""


@dataclass(frozen=True, slots=True)
class LogPage:
    """Records of a job, oldest first. `before` is the event from which older ones continue, or None if there are none."""

    records: Sequence[Document]
    before: int | None


async def newest_logs(store: Store, job_id: str, *, limit: int, scan: int, before: int | None = None) -> LogPage:
    """Return the newest records of a job, or the newest before an event, at most `limit`.

    They share the log with the job's other events, of which the newest `scan` are looked at.
    """
    records: list[Document] = []
    while scan > 0 and len(records) < limit:
        page = await store.read_last(job_id, before=before, limit=min(PAGE_SIZE, scan))
        if page is None or not page.events:
            return LogPage(records[::-1], None)
        found = [event for event in page.events if event.name == LOG][-(limit - len(records)) :]
        records += [json.loads(event.data) for event in reversed(found)]
        before = found[0].number if len(records) == limit else page.events[0].number
        scan -= len(page.events)
    return LogPage(records[::-1], before if before is not None and before > 1 else None)


def record_fields(record: Document) -> Mapping[str, Any]:
    """Return the fields of `extra` of a record."""
    return {name: value for name, value in record.items() if name not in NOT_FIELDS}


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
