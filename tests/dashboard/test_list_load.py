"""Lists in a large store: each is answered in time, whatever the newest jobs are."""

import statistics
import time

import pytest

from sidelane.model.job import Failure, JobSpec
from sidelane.model.limit import Limit
from sidelane.model.outcome import AttemptResult, Failed
from sidelane.model.problem import Problem
from sidelane.model.schedule import Schedule
from sidelane.model.worker import ClaimRequest
from sidelane.stores.contract import Store
from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import get
from tests.dashboard.shop import Shop
from tests.web.clients import Server

pytestmark = pytest.mark.long

JOBS, CHUNK, FAILED = 50_000, 2_000, 1_000

PATHS = (
    "workers", "schedules", "schedules/nightly", "dead", "limits", "limits/one?id=held/all", "batches", "callbacks",
    "callbacks?receiver=u7", "messages",
)  # fmt: skip


@BOTH_STORES
async def test_every_list_is_answered_in_200_ms_by_fifty_thousand_jobs(server: Server, shop: Shop) -> None:
    store = shop.lane.client.store
    await _fail(store)
    for first in range(0, JOBS, CHUNK):
        await store.submit([_spec(number) for number in range(first, first + CHUNK)])
    await store.upsert_schedule(Schedule(name="nightly", spec=_spec(1), cron="0 2 * * *"))
    for path in PATHS:
        seconds = []
        for _ in range(5):
            begun = time.perf_counter()
            page = await get(server, path)
            seconds.append(time.perf_counter() - begun)
            assert page.status_code == 200
        assert statistics.median(seconds) < 0.2, path


async def _fail(store: Store) -> None:
    """Let jobs fail for good."""
    await store.submit([JobSpec(id=f"f{number}", task="unknown", queue="failing") for number in range(FAILED)])
    failure = Failure(problem=Problem(), error="KeyError: 'stock_code'", traceback="at once\n" * 50)
    claims = await store.claim(
        ClaimRequest(request="r", worker="w", queues={"failing": FAILED}, limit=FAILED, lease=60)
    )
    await store.finish([AttemptResult(lease=claimed.lease, outcome=Failed(failure)) for claimed in claims.jobs])


def _spec(number: int) -> JobSpec:
    return JobSpec(
        id=f"j{number}", task=f"unknown{number % 20}", queue=f"q{number % 10}", user=f"u{number % 1000}",
        arguments=f'{{"message":"Why did {number} rise?"}}', limits=(Limit(name="held", key="all", max=1, on_limit="wait"),),
    )  # fmt: skip
