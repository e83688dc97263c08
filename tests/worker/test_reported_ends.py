"""Ends of attempts are reported in one place, whatever decided them."""

import re
from typing import Any

import pytest

from sidelane import Http, JobFailed, Problem, Sidelane
from sidelane.testing import harness

TIMEOUT = 10.0
JOBS_URL = "https://api.example.com/jobs"


def reported(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "sidelane.worker.outcome"]


async def test_failed_task_is_reported_once(lane: Sidelane, caplog: pytest.LogCaptureFixture) -> None:
    @lane.task
    async def fails() -> None:
        raise ValueError("no")

    async with harness(lane) as t:
        job = await fails.submit()
        await t.drain()
    (message,) = reported(caplog)
    assert re.fullmatch(rf"job {job.id} \(fails\) attempt 1 failed for good \(ran \d\.\d s\): ValueError: no", message)


async def test_failure_of_an_external_worker_is_reported_once(make_lane: Any, caplog: pytest.LogCaptureFixture) -> None:
    lane: Sidelane = make_lane(jobs_url=JOBS_URL)
    task = lane.external_task("count", input=str, result=int, send_to=Http("http://127.0.0.1:9/jobs"))
    async with harness(lane) as t:
        job = await task.submit("text")
        await t.drain()
        await t.fail(job, Problem(status=502, detail="no model"), retry=False)
    (message,) = reported(caplog)
    assert message.startswith(f"job {job.id} (count) attempt 1 failed for good: ")


async def test_failed_dispatch_is_reported_once(make_lane: Any, caplog: pytest.LogCaptureFixture) -> None:
    lane: Sidelane = make_lane(jobs_url=JOBS_URL, allow_private_callbacks=False)
    task = lane.external_task("count", input=str, result=int, send_to=Http("http://127.0.0.1:9/jobs"))
    async with lane.open(workers=1):
        job = await task.submit("text")
        with pytest.raises(JobFailed):
            await job.result(TIMEOUT)
    (message,) = reported(caplog)
    assert message.startswith(f"job {job.id} (count) attempt 1 failed for good: AddressRefused")
