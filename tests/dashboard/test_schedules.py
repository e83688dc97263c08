"""Pages of schedules: times in words, next and past runs; run now, enable and disable."""

import re

import pytest

from sidelane.model.job import JobSpec, Query
from sidelane.model.schedule import Schedule
from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import act, get, text_of, token_of
from tests.dashboard.shop import Shop
from tests.web.clients import Server

SPEC = JobSpec(id="", task="echo", queue="chat", arguments='{"text":"a","phone":"010"}', labels={"schedule": "nightly"})
NIGHTLY = Schedule(name="nightly", spec=SPEC, cron="0 2 * * *", timezone="Asia/Seoul", catch_up="skip")


@pytest.fixture
async def nightly(server: Server, shop: Shop) -> Schedule:
    await shop.lane.client.store.upsert_schedule(NIGHTLY)
    return NIGHTLY


async def test_list_shows_times_in_words_and_the_next_run(server: Server, nightly: Schedule) -> None:
    text = text_of(await get(server, "schedules"))
    assert re.search(r"nightly every day at 02:00 · Asia/Seoul echo in .* never Run now Disable", text)


async def test_times_are_in_korean_for_korean_readers(server: Server, nightly: Schedule) -> None:
    assert "nightly 매일 02:00 · Asia/Seoul" in text_of(
        await get(server, "schedules", headers={"Accept-Language": "ko"})
    )


async def test_page_shows_the_next_five_runs_what_is_submitted_and_hides_masked_input(
    server: Server, nightly: Schedule
) -> None:
    page = await get(server, "schedules/nightly")
    runs = re.findall(r'<span class="item"><time datetime="\d{4}-\d\d-\d\dT17:00:00', page.text)
    assert len(runs) == 5
    text = text_of(page)
    assert "Submits echo to queue chat" in text
    assert "Missed runs are skipped" in text
    assert "It has not run yet." in text
    assert "010" not in text


@BOTH_STORES
async def test_run_now_submits_a_job_that_the_page_lists(server: Server, shop: Shop) -> None:
    store = shop.lane.client.store
    await store.upsert_schedule(NIGHTLY)
    answer = await act(server, "schedules/nightly/run", await get(server, "schedules/nightly"))
    assert answer.status_code == 303
    (job,) = await store.list_jobs(Query(task="echo"))
    text = text_of(await get(server, "schedules/nightly"))
    assert f"Submitted job {job.id}." in text
    assert f"echo {job.id}" in text


@BOTH_STORES
async def test_schedule_is_disabled_and_enabled_again(server: Server, shop: Shop) -> None:
    await shop.lane.client.store.upsert_schedule(NIGHTLY)
    await act(server, "schedules/nightly/disable", await get(server, "schedules"))
    page = await get(server, "schedules")
    assert "nightly: disabled" in text_of(page)
    assert "none while it is disabled" in text_of(await get(server, "schedules/nightly"))
    await act(server, "schedules/nightly/enable", page)
    assert "nightly: enabled" in text_of(await get(server, "schedules"))
    (record,) = (await shop.lane.client.store.list_schedules()).records
    assert record.enabled


async def test_schedule_that_is_disabled_can_be_forgotten(server: Server, shop: Shop) -> None:
    store = shop.lane.client.store
    await store.upsert_schedule(NIGHTLY)
    assert "Forget" not in text_of(await get(server, "schedules/nightly"))
    await act(server, "schedules/nightly/disable", await get(server, "schedules/nightly"))
    page = await get(server, "schedules/nightly")
    assert "Forget" in text_of(page)
    answer = await act(server, "schedules/nightly/forget", page)
    assert answer.headers["location"].endswith("schedules")
    assert "nightly: forgotten" in text_of(await get(server, "schedules"))
    assert (await store.list_schedules()).records == ()


async def test_viewer_runs_no_schedule(server: Server, shop: Shop, nightly: Schedule) -> None:
    headers = {"Cookie": "who=vic"}
    page = await get(server, "schedules", headers=headers)
    assert "Run now" not in text_of(page)
    answer = await server.client.post("/ops/schedules/nightly/run", data={"token": token_of(page)}, headers=headers)
    assert answer.status_code == 403
    assert await shop.lane.client.store.list_jobs(Query()) == []


async def test_schedule_that_is_gone_says_so(server: Server) -> None:
    page = await get(server, "schedules/gone")
    assert page.status_code == 404
    assert "There is no schedule 'gone'." in text_of(page)


async def test_empty_list_says_how_to_declare_a_schedule(server: Server) -> None:
    assert "Declare one with lane.schedule(" in text_of(await get(server, "schedules"))
