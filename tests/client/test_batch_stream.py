"""Batch streams: records as they change, up to the end, with and without notifications."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidelane import Batch, BatchRecord, ResultNotReady, Sidelane
from sidelane.client.event_stream import stream_batch
from sidelane.testing import harness
from tests.client.test_event_stream import silence

SOON = 10.0


def counts(record: BatchRecord) -> tuple[int, int, int, int]:
    return record.total, record.succeeded, record.failed, record.cancelled


async def test_a_batch_stream_yields_counts_up_to_the_end(lane: Sidelane) -> None:
    go = asyncio.Event()

    @lane.task
    async def wait(number: int) -> None:
        if number:
            await go.wait()

    async with lane.open(workers=1), asyncio.timeout(SOON):
        batch = await lane.submit_many(wait.call(number) for number in range(3))
        seen: list[BatchRecord] = []
        async for record in lane.batch(batch.id).follow():
            seen.append(record)
            if record.succeeded == 1:
                go.set()
        assert seen[-1].ended is not None
        assert [record.ended for record in seen[:-1]] == [None] * (len(seen) - 1)
        assert counts(seen[-1]) == (3, 3, 0, 0)
        again = [record async for record in batch.follow()]  # the record of a finished batch comes at once
        assert again == seen[-1:]


async def test_a_batch_stream_without_notifications_ends_within_seconds(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    go = asyncio.Event()

    @lane.task
    async def wait() -> None:
        await go.wait()

    async with lane.open(workers=1):
        batch = await lane.submit_many([wait.call()])
        with monkeypatch.context() as patch:
            patch.setattr(lane.client.store, "watch", silence)
            async with asyncio.timeout(4.0):
                following = [asyncio.create_task(batch.wait()), asyncio.create_task(_last(batch))]
                await asyncio.sleep(0)
                go.set()
                for ended in await asyncio.gather(*following):
                    assert ended.succeeded == 1


async def _last(batch: Batch[Any]) -> BatchRecord:
    return [record async for record in batch.follow()][-1]


class Noise:
    """A subscription that always has a notification."""

    async def wait(self, timeout: float | None = None) -> bool:
        await asyncio.sleep(0)
        return True


@asynccontextmanager
async def noise(*topics: str) -> AsyncIterator[Noise]:
    yield Noise()


async def test_a_batch_stream_reads_at_intervals_however_many_jobs_end(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of each job sends a notification; a read for each of thousands would burden the store."""
    looks = 0

    @lane.task
    async def note() -> None: ...

    async with harness(lane) as t:
        batch = await lane.submit_many([note.call()])
        store, look = t.client.store, t.client.store.get_batch

        async def counted(batch_id: str) -> BatchRecord | None:
            nonlocal looks
            looks += 1
            return await look(batch_id)

        monkeypatch.setattr(store, "watch", noise)
        monkeypatch.setattr(store, "get_batch", counted)
        with pytest.raises(ResultNotReady):
            await batch.wait(timeout=0.3)
        assert 2 <= looks <= 2 + 0.3 / 0.02


async def test_a_batch_stream_does_not_repeat_an_unchanged_record(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    @lane.task
    async def note() -> None: ...

    monkeypatch.setattr("sidelane.client.event_stream.MAX_POLL_INTERVAL", 0.01)  # it is read repeatedly
    async with harness(lane) as t:
        batch = await lane.submit_many([note.call()])
        records = [record async for record in stream_batch(t.client.store, batch.id, timeout=0.3)]
        assert records == [await batch.record()]
