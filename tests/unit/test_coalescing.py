"""CallCoalescer: joining concurrent calls."""

import asyncio
from collections.abc import Sequence

import pytest

from sidelane.coalescing import CallCoalescer


async def test_a_lone_call_does_not_wait_and_later_ones_are_joined() -> None:
    batches: list[Sequence[int]] = []
    go = asyncio.Event()

    async def call(items: Sequence[int]) -> list[int]:
        batches.append(items)
        await go.wait()
        return [item * 10 for item in items]

    double = CallCoalescer(call, limit=3)
    first = asyncio.create_task(double(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(double(item)) for item in range(1, 6)]
    await asyncio.sleep(0)
    go.set()
    assert await asyncio.gather(first, *rest) == [0, 10, 20, 30, 40, 50]
    assert batches == [[0], [1, 2, 3], [4, 5]]


async def test_an_error_reaches_each_caller_of_its_call_only() -> None:
    async def call(items: Sequence[str]) -> list[str]:
        if "bad" in items:
            raise ValueError("bad")
        return list(items)

    echo = CallCoalescer(call, limit=2)
    answers = await asyncio.gather(*map(echo, ["bad", "beside", "after"]), return_exceptions=True)
    assert [str(answer) for answer in answers] == ["bad", "bad", "after"]


async def test_a_cancelled_caller_does_not_affect_the_others() -> None:
    async def call(items: Sequence[int]) -> list[int]:
        await asyncio.sleep(0)
        return list(items)

    echo = CallCoalescer(call)
    tasks = [asyncio.create_task(echo(item)) for item in range(3)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    assert [await tasks[0], await tasks[2]] == [0, 2]
    with pytest.raises(asyncio.CancelledError):
        await tasks[1]


async def test_many_callers_make_at_most_two_concurrent_calls() -> None:
    under_way = most = 0
    sizes: list[int] = []

    async def call(items: Sequence[int]) -> list[int]:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        sizes.append(len(items))
        await asyncio.sleep(0.001)
        under_way -= 1
        return list(items)

    echo = CallCoalescer(call, limit=50)
    assert await asyncio.gather(*map(echo, range(500))) == list(range(500))
    assert most == 2
    assert max(sizes) == 50


async def test_ordered_calls_run_one_at_a_time_in_the_order_of_their_items() -> None:
    done: list[int] = []

    async def call(items: Sequence[int]) -> list[int]:
        await asyncio.sleep(0 if items[0] else 0.01)  # the first takes longest
        done.extend(items)
        return list(items)

    echo = CallCoalescer(call, limit=10, ordered=True)
    await asyncio.gather(*map(echo, range(60)))
    assert done == list(range(60))
