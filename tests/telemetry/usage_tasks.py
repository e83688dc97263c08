"""Tasks that report their usage, for child processes, which import this module."""

from collections.abc import AsyncIterator

from sidelane import Context, Fixed, Retry, RetryLater, Sidelane, Use, llm_span

lane = Sidelane(settings={"lease_duration": 2.0})


class TooManyRequests(Exception):
    status_code = 429


@lane.task
async def on_the_loop(ctx: Context = Use(Context)) -> None:
    ctx.report_usage(input_tokens=100, output_tokens=20, cost=0.5)
    ctx.report_usage(input_tokens=1, cost=0.25)


@lane.task
def in_a_thread(ctx: Context = Use(Context)) -> None:
    for _ in range(1000):
        ctx.report_usage(output_tokens=1)


@lane.task(process=True)
def in_a_process(ctx: Context = Use(Context)) -> None:
    ctx.report_usage(input_tokens=7, cost=1)


@lane.task
async def llm_on_the_loop() -> AsyncIterator[str]:
    with llm_span("chat", model="gpt-4o", provider="openai") as call:
        yield "Good"
        call.usage(input_tokens=11, output_tokens=2, cost=0.5)


@lane.task
def llm_in_a_thread() -> None:
    with llm_span("chat", model="gpt-4o", provider="openai") as call:
        call.usage(input_tokens=12, output_tokens=2)


@lane.task(process=True)
def llm_in_a_process() -> None:
    with llm_span("chat", model="gpt-4o", provider="openai") as call:
        call.usage(input_tokens=13, output_tokens=2)


@lane.task(process=True, retry=Retry(attempts=2, backoff=Fixed(0)))
async def refused_in_a_process(ctx: Context = Use(Context)) -> None:
    ctx.report_usage(input_tokens=3)
    if ctx.attempt == 1:
        raise TooManyRequests


@lane.task
async def refused(ctx: Context = Use(Context)) -> None:
    if ctx.attempt == 1:
        raise RetryLater(0)
    if ctx.attempt == 2:
        try:
            raise TooManyRequests
        except TooManyRequests as error:
            raise RetryLater(0) from error
    try:
        raise TooManyRequests
    except TooManyRequests as error:
        raise RuntimeError("wrapped") from error


@lane.task
async def wrong(ctx: Context = Use(Context)) -> str:
    for arguments in ({"input_tokens": -1}, {"output_tokens": 1.5}, {"cost": float("nan")}, {"cost": -0.1}):
        try:
            ctx.report_usage(**arguments)
        except ValueError:
            continue
        return f"{arguments} was accepted"
    return ""
