"""A service on a real store whose clock a test moves: its clients, one worker, and the process that evaluates its findings."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from sidelane.admin.findings.evaluation import Attention
from sidelane.admin.findings.memory import save_memory
from sidelane.client.declarations import DECLARATIONS
from sidelane.model.ids import new_nonce
from sidelane.model.job import Failure, JobSpec, Lease
from sidelane.model.outcome import AttemptResult, Failed, Outcome, Succeeded
from sidelane.model.problem import Problem
from sidelane.model.shared_state import ValueChange
from sidelane.model.worker import STOPPED, ClaimRequest, WorkerInfo
from sidelane.stores.clock import ManualClock
from sidelane.stores.contract import Store
from sidelane.tasks.internal_queues import CALLBACK_QUEUE, CALLBACK_TASK
from tests.contract.servers import RunningServer

WORKER = "chat-1:box:7:1a2b"
LEASE = 600.0
SWEEP_LEASE = 10.0
SWEEP_INTERVAL = 4.0

SUCCEEDED = Succeeded("1")
FAILED = Failed(Failure(problem=Problem(status=500, title="Internal error"), error="KeyError: 'stock_code'"))


class Service:
    """`server` has the store, if a server has."""

    def __init__(self, store: Store, clock: ManualClock, server: RunningServer | None = None) -> None:
        self.store = store
        self.clock = clock
        self._server = server
        self._attention = Attention(store)

    @property
    def server(self) -> RunningServer:
        assert self._server is not None, "a case of servers only"
        return self._server

    async def found(self) -> set[str]:
        """Evaluate and save as a background process does. Return the keys of the findings, with the keys of their causes."""
        evaluation = await self._attention.evaluation()
        await save_memory(self.store, evaluation.memory, evaluation.replaces)
        return {each.key if each.cause is None else f"{each.key} <- {each.cause}" for each in evaluation.findings}

    async def declare(self, **targets: float) -> None:
        """Declare the target waits of queues."""
        text = json.dumps({"target_waits": targets, "user_limits": []})
        await self.store.set_value(ValueChange(name=DECLARATIONS, text=text, replaces=None))

    async def beat(self, **fields: Any) -> None:
        """Send a heartbeat of the worker."""
        described = {
            "queues": {"chat": 100, CALLBACK_QUEUE: 100},
            "tasks": {"answer": 1, CALLBACK_TASK: 1},
            "slots": 100,
        }
        await self.store.heartbeat(
            WorkerInfo(**{"id": WORKER, "name": "chat-1", **described, **fields}), [], lease=LEASE
        )

    async def stop_worker(self) -> None:
        await self.beat(health=STOPPED)

    async def submit(self, count: int = 1, **fields: Any) -> list[str]:
        """Submit jobs, and return their ids."""
        specs = [JobSpec(**{"id": new_nonce(), "task": "answer", "queue": "chat", **fields}) for _ in range(count)]
        await self.store.submit(specs)
        return [spec.id for spec in specs]

    async def claim(
        self, count: int = 1, *, queue: str = "chat", tasks: Mapping[str, int] | None = None, lease: float = LEASE,
        isolated: bool = False,
    ) -> list[Lease]:  # fmt: skip
        """Start up to `count` jobs."""
        request = ClaimRequest(
            request=new_nonce(),
            worker=WORKER,
            queues={queue: count},
            limit=count,
            lease=lease,
            isolated=isolated,
            tasks=tasks,
        )
        return [each.lease for each in (await self.store.claim(request)).jobs]

    async def finish(self, leases: Sequence[Lease], outcome: Outcome = SUCCEEDED, **fields: Any) -> None:
        reports = [AttemptResult(lease=lease, outcome=outcome, **fields) for lease in leases]
        assert all(await self.store.finish(reports))

    async def run(self, count: int = 1, **claim: Any) -> None:
        """Run jobs to their success."""
        leases = await self.claim(count, **claim)
        assert len(leases) == count
        await self.finish(leases)

    async def sweep(self, seconds: float) -> None:
        """Pass time in steps that no sweep takes for a restart (rule 5)."""
        steps = math.ceil(seconds / SWEEP_INTERVAL)
        for _ in range(steps):
            self.clock.advance(seconds / steps)
            await self.store.sweep(lease=SWEEP_LEASE)
