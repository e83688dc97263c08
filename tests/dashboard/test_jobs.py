"""The list of jobs: its filters are the URL, its pages miss no job, and a filter that makes no sense says so."""

import re
from typing import Any

import pytest

from sidelane.model.job import JobSpec
from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import get, text_of
from tests.dashboard.shop import Shop
from tests.web.clients import Server


def ids_of(text: str) -> list[str]:
    """Return the ids of the jobs on a page."""
    return re.findall(r'name="job" value="([^"]+)"', text)


async def submit(shop: Shop, *specs: JobSpec) -> None:
    """Submit jobs that no worker of the shop knows."""
    await shop.lane.client.store.submit(specs)


@BOTH_STORES
async def test_jobs_are_found_by_every_filter_of_the_url(server: Server, shop: Shop) -> None:
    common: dict[str, Any] = {"task": "unknown", "queue": "q"}
    await submit(
        shop,
        JobSpec(id="by-user", user="ann & bob", **common),
        JobSpec(id="by-key", key="chat:9f31", **common),
        JobSpec(id="by-label", labels={"plan": "pro=1"}, **common),
        JobSpec(id="by-text", arguments='{"stock":"삼성"}', **common),
        JobSpec(id="by-queue", task="unknown", queue="other"),
        JobSpec(id="by-task", task="other", queue="q"),
        JobSpec(id="by-state", delay=60, **common),
    )
    filters = {
        "by-user": {"user": "ann & bob"}, "by-key": {"key": "chat:9f31"}, "by-label": {"label": "plan=pro=1"},
        "by-text": {"text": "삼성"}, "by-queue": {"queue": "other"}, "by-task": {"task": "other"},
        "by-state": {"state": "scheduled"},
    }  # fmt: skip
    for job_id, chosen in filters.items():
        page = await get(server, "jobs", params=chosen)
        assert ids_of(page.text) == [job_id], chosen
    assert ids_of((await get(server, "jobs", params={"since": "1h"})).text) == [*reversed(filters)]
    assert ids_of((await get(server, "jobs", params={"until": "1h"})).text) == []
    assert ids_of((await get(server, "jobs", params={"release": "8ac11e0"})).text) == []


@BOTH_STORES
async def test_pages_of_a_filter_show_every_job_once(server: Server, shop: Shop) -> None:
    await submit(shop, *(JobSpec(id=f"j{n}", task="unknown", user=f"u{n % 2}") for n in range(250)))
    page, found = await get(server, "jobs?user=u1"), []
    while True:
        found += ids_of(page.text)
        older = re.search(r'href="\./jobs(\?[^"]+)" rel="next"', page.text)
        if older is None:
            break
        assert "user=u1" in older[1]
        page = await get(server, "jobs" + older[1].replace("&amp;", "&"))
    assert found == [f"j{n}" for n in range(249, 0, -2)]


async def test_page_that_was_reached_stays_the_same_when_jobs_come(server: Server, shop: Shop) -> None:
    await submit(shop, *(JobSpec(id=f"j{n}", task="unknown") for n in range(60)))
    first = await get(server, "jobs")
    older = re.search(r'href="\./jobs(\?[^"]+)" rel="next"', first.text)
    assert older
    before = ids_of((await get(server, "jobs" + older[1])).text)
    await submit(shop, JobSpec(id="new", task="unknown"))
    assert ids_of((await get(server, "jobs" + older[1])).text) == before == [f"j{n}" for n in range(9, -1, -1)]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"state": "tired"}, "tired is no state of a job"),
        ({"label": "plan"}, "plan is no label. Write name=value."),
        ({"since": "yesterday"}, "yesterday is no time"),
        ({"since": "1h", "until": "2h"}, "The period is empty"),
        ({"before": "<b>"}, "The address of this page is damaged"),
    ],
)
async def test_filter_that_makes_no_sense_says_why_and_keeps_what_was_written(
    server: Server, query: dict[str, str], message: str
) -> None:
    page = await get(server, "jobs", params=query)
    assert page.status_code == 200
    assert message in text_of(page)
    for name, value in query.items():
        assert name in ("state", "before") or f'value="{value}"' in page.text


async def test_row_shows_state_user_wait_progress_and_the_error(server: Server, shop: Shop) -> None:
    failed = await shop.tasks["fail"].options(user="ann").submit("stock_code")
    report = await shop.tasks["report"].options(user="bob").submit()
    async for event in report.events():
        if event.name == "progress":
            break
    await shop.lane.client.wait(failed.id, 10)
    text = text_of(await get(server, "jobs"))
    assert re.search(rf"fail {failed.id} failed report ann .* KeyError: 'stock_code'", text)
    assert re.search(rf"report {report.id} running report bob .* 40 % half way", text)
    shop.pace.release()


async def test_text_search_says_how_many_jobs_it_looked_at(server: Server, shop: Shop) -> None:
    await submit(shop, *(JobSpec(id=f"j{n}", task="unknown") for n in range(7)))
    assert "Searched the newest 7 jobs that the other filters leave." in text_of(await get(server, "jobs?text=nothing"))


async def test_empty_list_says_what_to_do(server: Server) -> None:
    assert "There is no job yet." in text_of(await get(server, "jobs"))
    assert "No job matches these filters. Show all jobs" in text_of(await get(server, "jobs?user=ann"))


async def test_fields_suggest_known_tasks_and_queues_without_internal_ones(server: Server, shop: Shop) -> None:
    await submit(shop, JobSpec(id="a", task="unknown", queue="elsewhere"))
    page = (await get(server, "jobs")).text
    assert '<option value="answer">' in page
    assert '<option value="elsewhere">' in page
    assert "sidelane." not in page


async def test_list_is_in_korean_for_korean_readers(server: Server) -> None:
    text = text_of(await get(server, "jobs?state=tired", headers={"Accept-Language": "ko"}))
    assert "tired은(는) 작업 상태가 아닙니다." in text
