"""An application with the router of jobs evaluates findings in the background."""

import asyncio

import pytest
from fastapi import FastAPI

from sidelane import Sidelane
from sidelane.admin.findings import monitor
from sidelane.admin.findings.memory import MEMORY
from sidelane.web import Jobs


@pytest.fixture
def lane(tmp_path: object) -> Sidelane:
    return Sidelane(store=f"sqlite:///{tmp_path}/jobs.db")


def application(lane: Sidelane, *, with_lifespan: bool) -> FastAPI:
    app = FastAPI(lifespan=lane.lifespan if with_lifespan else None)
    app.include_router(Jobs(lane, user=None).router, prefix="/jobs")
    return app


async def test_findings_are_evaluated_while_the_application_runs(
    lane: Sidelane, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor.AttentionMonitor.__init__, "__kwdefaults__", {"interval": 0.05})
    app = application(lane, with_lifespan=True)
    async with app.router.lifespan_context(app), asyncio.timeout(10):
        while (await lane.client.store.read_values([MEMORY])) == [None]:
            await asyncio.sleep(0.02)
    assert not [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]


async def test_an_application_whose_lane_is_not_open_starts_as_well(lane: Sidelane) -> None:
    app = application(lane, with_lifespan=False)
    async with app.router.lifespan_context(app):
        pass
