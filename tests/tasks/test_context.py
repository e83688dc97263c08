"""Context, resources and middleware of running tasks."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from sidelane import Context, Job, JobFailed, Sidelane, Use
from sidelane.model.job import Progress
from sidelane.testing import harness

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_progress_shows_in_the_record_and_the_log(lane: Sidelane) -> None:
    @lane.task
    async def analyse(ctx: Context = Use(Context)) -> None:
        await ctx.progress(10, "reading")
        await ctx.progress(50)
        await ctx.emit("finding", {"at": 3})

    async with harness(lane) as t:
        job = await analyse.submit()
        await t.drain()
        assert (await job.record()).progress_value == Progress(50.0)
        assert [event.name for event in await t.events(job)] == ["progress", "progress", "finding", "end"]


async def test_events_of_a_thread_keep_their_order(lane: Sidelane) -> None:
    @lane.task
    def count(ctx: Context = Use(Context)) -> int:
        for number in range(500):
            ctx.emit("number", number)
        return 500

    async with harness(lane) as t:
        job = await count.submit()
        await t.drain()
        events = await t.events(job)
        assert [event.data for event in events[:-1]] == [str(number) for number in range(500)]
        assert events[-1].name == "end"


@pytest.mark.parametrize("name", ["end", "token", "Wrong Name", ""])
async def test_reserved_and_malformed_event_names_raise(lane: Sidelane, name: str) -> None:
    @lane.task
    async def odd(ctx: Context = Use(Context)) -> None:
        with pytest.raises(ValueError, match="a name is lower case"):
            await ctx.emit(name, 1)

    async with harness(lane) as t:
        await t.run(odd.call())


async def test_a_context_has_the_options_of_the_submit(lane: Sidelane) -> None:
    seen: list[Context] = []

    @lane.task
    async def look(ctx: Context = Use(Context)) -> None:
        seen.append(ctx)

    async with harness(lane) as t:
        job = await lane.submit(look.options(user="u1", key="k", labels={"a": "b"}).call())
        await t.drain()
        (ctx,) = seen
        assert (ctx.job_id, ctx.user, ctx.key, ctx.labels, ctx.attempt) == (job.id, "u1", "k", {"a": "b"}, 1)
        assert ctx.idempotency_key == job.id


async def test_children_inherit_user_parent_and_trace(lane: Sidelane) -> None:
    @lane.task
    async def child() -> str:
        return "done"

    @lane.task
    async def parent(ctx: Context = Use(Context)) -> str:
        return (await ctx.submit(child.call())).id

    @lane.task
    def threaded(ctx: Context = Use(Context)) -> str:
        job = ctx.submit(child.call())
        return job.wait(5).id

    async with harness(lane) as t:
        for task in (parent, threaded):
            job: Job[str] = await lane.client.submit(task.options(user="u1").call(), trace=TRACE)
            await t.drain()
            record = await child.job(await job.result()).record()
            assert (record.spec.user, record.spec.parent, record.spec.trace) == ("u1", job.id, TRACE)
            assert record.state == "succeeded"


async def test_resources_open_once_per_process_or_per_attempt_and_close(lane: Sidelane) -> None:
    log: list[str] = []

    @lane.resource
    async def engine() -> AsyncIterator[str]:
        log.append("open engine")
        yield "engine"
        log.append("close engine")

    @lane.resource(scope="attempt")
    def session(engine: str = Use(engine), ctx: Context = Use(Context)) -> Iterator[str]:
        log.append(f"open session on {engine}")
        yield f"session {ctx.attempt}"
        log.append("close session")

    @lane.task
    async def use(session: str = Use(session), again: str = Use(engine)) -> str:
        log.append("run")
        return f"{session}, {again}"

    async with harness(lane) as t:
        assert await t.run(use.call()) == "session 1, engine"
        assert await t.run(use.call()) == "session 1, engine"
    attempt = ["open session on engine", "run", "close session"]
    assert log == ["open engine", *attempt, *attempt, "close engine"]


async def test_an_override_replaces_a_resource(lane: Sidelane) -> None:
    @lane.resource
    async def model() -> AsyncIterator[str]:
        yield "real"

    @lane.task
    async def use(model: str = Use(model)) -> str:
        return model

    with lane.override(model, "fake"):
        async with harness(lane) as t:
            assert await t.run(use.call()) == "fake"


async def test_an_attempt_fails_with_its_own_resource(lane: Sidelane) -> None:
    @lane.resource(scope="attempt")
    async def session() -> AsyncIterator[str]:
        if lane.queues:
            raise ConnectionError("refused")
        yield "never"

    @lane.task
    async def use(session: str = Use(session)) -> str:
        return session

    async with harness(lane) as t:
        with pytest.raises(JobFailed):
            await t.run(use.call())
        record = await t.client.record((await t.records(use))[0].id)
        assert "ConnectionError: refused" in record.history[0].error


async def test_middleware_wraps_every_attempt(lane: Sidelane) -> None:
    log: list[str] = []

    @lane.middleware
    async def trace(ctx: Context) -> AsyncIterator[None]:
        log.append(f"begin {ctx.task}")
        try:
            yield
        finally:
            log.append("end")

    @lane.task
    async def good() -> None:
        log.append("run")

    @lane.task
    async def bad() -> None:
        raise RuntimeError

    async with harness(lane) as t:
        await t.run(good.call())
        with pytest.raises(JobFailed):
            await t.run(bad.call())
    assert log == ["begin good", "run", "end", "begin bad", "end"]


async def test_jobs_run_concurrently(lane: Sidelane) -> None:
    met = asyncio.Barrier(3)

    @lane.task
    async def meet() -> None:
        await asyncio.wait_for(met.wait(), 10)

    async with harness(lane) as t:
        jobs = [await meet.submit() for _ in range(3)]
        await t.drain()
        for job in jobs:
            await job.result(0)


async def test_middleware_that_swallows_an_error_does_not_hide_it(lane: Sidelane) -> None:
    @lane.middleware
    async def swallow(ctx: Context) -> AsyncIterator[None]:
        try:
            yield
        except ValueError:
            return

    @lane.task
    async def bad() -> None:
        raise ValueError("the real one")

    async with harness(lane) as t:
        with pytest.raises(JobFailed):
            await t.run(bad.call())
        record = await t.client.record((await t.records(bad))[0].id)
        assert record.history[0].error == "ValueError: the real one"


async def test_overrides_nest(lane: Sidelane) -> None:
    @lane.resource
    async def model() -> AsyncIterator[str]:
        yield "real"

    @lane.task
    async def use(model: str = Use(model)) -> str:
        return model

    async with harness(lane) as t:
        with lane.override(model, "outer"):
            with lane.override(model, "inner"):
                assert await t.run(use.call()) == "inner"
            assert await t.run(use.call()) == "outer"
        assert await t.run(use.call()) == "real"


async def test_concurrent_jobs_open_a_resource_once(lane: Sidelane) -> None:
    opened = 0

    @lane.resource
    async def slow() -> AsyncIterator[int]:
        nonlocal opened
        await asyncio.sleep(0)
        opened += 1
        yield opened

    @lane.task
    async def use(slow: int = Use(slow)) -> int:
        return slow

    async with harness(lane) as t:
        jobs = [await use.submit() for _ in range(5)]
        await t.drain()
        assert [await job.result(0) for job in jobs] == [1] * 5
