"""What the demo shows, a step a function. Each gives lines for the closing table, or raises `DemoFailed`."""

import asyncio
import time
from dataclasses import dataclass

from httpx2 import AsyncClient
from rich.console import Console

from examples.stock_chat.demo.conversation import Conversation
from examples.stock_chat.demo.failure import DemoFailed, expect
from examples.stock_chat.demo.processes import Processes
from examples.stock_chat.demo.service import LEASE
from examples.stock_chat.demo.watching import Watched
from sidelane import Sidelane

QUESTION = "What should I know before I buy shares?"
DROP_AFTER = 40  # tokens
KILL_AFTER = 25  # tokens
OTHERS = ("third", "fourth")  # sessions whose answers are written meanwhile, watched by nobody
FINISHED_WITHIN = 120.0

Rows = list[tuple[str, str]]


@dataclass(frozen=True, slots=True)
class Stage:
    """What the steps act on."""

    client: AsyncClient
    processes: Processes
    lane: Sidelane  # open on the same store, to see what clients are not told
    console: Console

    def say(self, words: str) -> None:
        self.console.print(f"\n[bold cyan]{words}[/bold cyan]", highlight=False)

    async def worker_of(self, job_id: str) -> str:
        """Give the name of the worker that runs a job."""
        record = await self.lane.client.record(job_id)
        names = {worker.id: worker.name for worker in await self.lane.client.store.workers()}
        if record.worker not in names:
            raise DemoFailed(f"no worker runs job {job_id}; it is {record.state}")
        return names[record.worker]


async def drop_and_resume(stage: Stage) -> Rows:
    """Stream an answer, drop the connection half-way, and go on from there."""
    stage.say(f"1. We ask, and drop the connection after {DROP_AFTER} tokens.")
    conversation = Conversation(stage.client, "first")
    watched = Watched(stage.console)
    async with conversation.ask(QUESTION) as events:
        async for event in events:
            watched.see(event)
            if watched.tokens == DROP_AFTER:
                break
    watched.note("dropped; the job goes on. A second later we resume where we were")
    await asyncio.sleep(1)
    dropped_at = watched.last
    async with conversation.resume(watched.links["events"], dropped_at.id) as events:
        async for event in events:
            watched.see(event)
    result = await conversation.result(dropped_at.job_id)
    watched.check(result["answer"])
    return [
        ("First token", f"{watched.first_token or 0:.2f} s after the question"),
        ("Connection dropped", f"after event {dropped_at.number}, then resumed with Last-Event-ID"),
        ("What came through", f"all {len(watched.events)} events in order, none twice"),
    ]


async def survive_a_kill(stage: Stage) -> Rows:
    """Kill the worker that writes an answer, and watch the other one finish it."""
    stage.say(f"2. Three answers at once; we kill (SIGKILL) the worker of this one after {KILL_AFTER} tokens.")
    others = {session: Conversation(stage.client, session) for session in OTHERS}
    requests = {session: await other.request(QUESTION) for session, other in others.items()}
    conversation = Conversation(stage.client, "second")
    watched = Watched(stage.console)
    killed, refusal, killed_at, back_after = "", "", 0.0, 0.0
    async with conversation.ask(QUESTION) as events:
        async for event in events:
            watched.see(event)
            if watched.tokens == KILL_AFTER and not killed:
                killed = await stage.worker_of(event.job_id)
                await stage.processes.kill(killed)
                killed_at = time.monotonic()
                watched.note(f"worker {killed} is killed; its lease of {LEASE:g} s has to pass")
                refusal = await conversation.refused(QUESTION)  # the answer is still on its way, whoever writes it
                watched.note(f"the same user asks again: {refusal}")
            elif event.name == "attempt":
                back_after = time.monotonic() - killed_at
    expect(back_after > 0, "no other worker took the answer over")
    watched.check((await conversation.result(watched.last.job_id))["answer"])
    for session, other in others.items():
        await finished(other, requests[session]["request_id"])
    return [
        ("Worker killed", f"{killed}, {KILL_AFTER} tokens into an answer"),
        ("Taken over", f"after {back_after:.1f} s, and finished on the same connection"),
        ("A second question meanwhile", refusal),
        ("Other answers meanwhile", f"{len(others)} of {len(others)} finished"),
    ]


async def finished(conversation: Conversation, request_id: str) -> None:
    """Wait until a request has its answer."""
    end = time.monotonic() + FINISHED_WITHIN
    while (await conversation.result(request_id))["status"] != "succeeded":
        expect(time.monotonic() < end, f"request {request_id} had no answer after {FINISHED_WITHIN:g} s")
        await asyncio.sleep(0.2)
