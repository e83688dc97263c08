"""Pages of tasks: figures of a period, releases, and why jobs fail."""

from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe

from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.pages import get, text_of
from tests.dashboard.shop import Shop
from tests.dashboard.waiting import end_of
from tests.web.clients import Server


@BOTH_STORES
async def test_task_shows_causes_of_failures_by_release(server: Server, shop: Shop) -> None:
    jobs = [await shop.lane.submit(shop.tasks["fail"].call("stock_code")) for _ in range(2)]
    jobs.append(await shop.lane.submit(shop.tasks["fail"].call("other")))
    for job in jobs:
        await end_of(job)
    text = text_of(await get(server, "tasks/fail"))
    assert "100 %" in text
    assert "KeyError: 'stock_code' 8ac11e0 2 " in text
    assert "KeyError: 'other' 8ac11e0 1 " in text


async def test_list_has_tasks_that_never_ran(server: Server) -> None:
    page = await get(server, "tasks?since=1h")
    assert 'href="./tasks/answer"' in page.text
    assert "sidelane." not in text_of(page)


async def test_task_shows_run_time_and_first_event(server: Server, shop: Shop) -> None:
    shop.pace.release()
    await end_of(await shop.lane.submit(shop.tasks["answer"].call("a")))
    text = text_of(await get(server, "tasks/answer"))
    assert "1 ended, 0 tried again" in text
    assert "First event median 0." in text


async def test_unknown_task_is_named(server: Server) -> None:
    page = await get(server, "tasks/nope")
    assert page.status_code == 404
    assert "No live worker has a task 'nope'" in text_of(page)


@pytest.mark.long
@BOTH_STORES
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_pages_are_accessible(browser: Browser, shop: Shop, theme: Literal["light", "dark"]) -> None:
    job = await shop.lane.submit(shop.tasks["fail"].call("stock_code"))
    await end_of(job)
    chromium = browser.context.browser
    assert chromium is not None
    context = await chromium.new_context(color_scheme=theme, bypass_csp=True)
    for path in ("", "queues", "queues/report", "tasks", "tasks/fail"):
        page = await context.new_page()
        await page.goto(f"{browser.url}/ops/{path}")
        results = await Axe().run(page)
        assert results.violations_count == 0, (path, results.generate_report())
