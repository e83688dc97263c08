"""Steps of the demo, one function each. A step returns rows of the final table, or raises `DemoFailed`."""

import asyncio
import time
from dataclasses import dataclass

from httpx2 import AsyncClient
from rich.console import Console

from examples.stock_chat.demo.answer_log import AnswerLog
from examples.stock_chat.demo.conversation import Conversation
from examples.stock_chat.demo.failure import DemoFailed, expect
from examples.stock_chat.demo.processes import Processes
from examples.stock_chat.demo.service import LEASE_DURATION
from sidelane import Sidelane

QUESTION = "What should I know before I buy shares?"
DROP_AFTER = 40  # tokens
KILL_AFTER = 25  # tokens
OTHERS = ("third", "fourth")  # sessions that get an answer at the same time, without a stream
ANSWER_TIMEOUT = 120.0

Rows = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Stage:
    """What the steps work with."""

    client: AsyncClient
    processes: Processes
    lane: Sidelane  # open on the same store, to see what clients cannot see
    console: Console

    def title(self, text: str) -> None:
        self.console.print(f"\n[bold cyan]{text}[/bold cyan]", highlight=False)

    async def worker_of(self, job_id: str) -> str:
        """Return the name of the worker that runs a job."""
        record = await self.lane.client.record(job_id)
        names = {worker.id: worker.name for worker in await self.lane.client.store.workers()}
        if record.worker not in names:
            raise DemoFailed(f"no worker runs job {job_id}; it is {record.state}")
        return names[record.worker]


async def drop_and_resume(stage: Stage) -> Rows:
    """Stream an answer, drop the connection, and resume the stream."""
    stage.title(f"1. We ask, and drop the connection after {DROP_AFTER} tokens.")
    conversation = Conversation(stage.client, "first")
    log = AnswerLog(stage.console)
    async with conversation.ask(QUESTION) as events:
        async for event in events:
            log.add(event)
            if log.tokens == DROP_AFTER:
                break
    log.note("connection dropped; the job continues. We resume a second later")
    await asyncio.sleep(1)
    last_seen = log.last
    async with conversation.resume(log.links["events"], last_seen.id) as events:
        async for event in events:
            log.add(event)
    result = await conversation.result(last_seen.job_id)
    log.check(result["answer"])
    return [
        ("First token", f"{log.first_token or 0:.2f} s after the question"),
        ("Connection dropped", f"after event {last_seen.number}, then resumed with Last-Event-ID"),
        ("Events received", f"all {len(log.events)} in order, none twice"),
    ]


async def survive_a_kill(stage: Stage) -> Rows:
    """Kill the worker that writes an answer, and check that the other worker finishes it."""
    stage.title(f"2. Three answers at once; we kill (SIGKILL) the worker of one after {KILL_AFTER} tokens.")
    others = {session: Conversation(stage.client, session) for session in OTHERS}
    requests = {session: await other.request(QUESTION) for session, other in others.items()}
    conversation = Conversation(stage.client, "second")
    log = AnswerLog(stage.console)
    killed, refusal, killed_at, retried_after = "", "", 0.0, 0.0
    async with conversation.ask(QUESTION) as events:
        async for event in events:
            log.add(event)
            if log.tokens == KILL_AFTER and not killed:
                killed = await stage.worker_of(event.job_id)
                await stage.processes.kill(killed)
                killed_at = time.monotonic()
                log.note(f"worker {killed} is killed; its lease expires after {LEASE_DURATION:g} s")
                refusal = await conversation.refused(QUESTION)  # the answer is unfinished, also without a worker
                log.note(f"the same user asks again: {refusal}")
            elif event.name == "attempt":
                retried_after = time.monotonic() - killed_at
    expect(retried_after > 0, "no other worker retried the answer")
    log.check((await conversation.result(log.last.job_id))["answer"])
    for session, other in others.items():
        await wait_until_finished(other, requests[session]["request_id"])
    return [
        ("Worker killed", f"{killed}, {KILL_AFTER} tokens into an answer"),
        ("Retried by the other worker", f"after {retried_after:.1f} s, and finished on the same connection"),
        ("A second question meanwhile", refusal),
        ("Other answers meanwhile", f"{len(others)} of {len(others)} finished"),
    ]


async def wait_until_finished(conversation: Conversation, request_id: str) -> None:
    """Wait until a request has its answer."""
    end = time.monotonic() + ANSWER_TIMEOUT
    while (await conversation.result(request_id))["status"] != "succeeded":
        expect(time.monotonic() < end, f"request {request_id} had no answer after {ANSWER_TIMEOUT:g} s")
        await asyncio.sleep(0.2)
