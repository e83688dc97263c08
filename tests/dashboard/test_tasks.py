"""Pages of tasks: figures of a period, releases, and why jobs fail."""

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import expect

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


async def test_task_shows_a_dash_for_what_was_not_measured(server: Server) -> None:
    text = text_of(await get(server, "tasks/answer"))
    assert (
        "Run time \N{EN DASH} Wait until the start \N{EN DASH} First event \N{EN DASH} Tokens and cost \N{EN DASH}"
        in text
    )


async def test_unknown_task_is_named(server: Server) -> None:
    page = await get(server, "tasks/nope")
    assert page.status_code == 404
    assert "No live worker has a task 'nope'" in text_of(page)


@pytest.mark.long
@BOTH_STORES
async def test_operator_follows_a_task_to_its_charts_and_back(browser: Browser, shop: Shop) -> None:
    await end_of(await shop.lane.submit(shop.tasks["fail"].call("stock_code")))
    page = await browser.open("tasks")
    await page.get_by_role("link", name="fail").click()
    await expect(page.get_by_role("cell", name="KeyError: 'stock_code'")).to_be_visible()
    await expect(page.locator("canvas")).to_have_count(2)
    await page.get_by_role("link", name="1 h", exact=True).click()
    await expect(page.get_by_role("cell", name="8ac11e0").first).to_be_visible()
    await page.get_by_role("link", name="report").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Queues / report")


@pytest.mark.long
@BOTH_STORES
async def test_axe_finds_nothing_in_both_themes_and_languages(browser: Browser, shop: Shop) -> None:
    await end_of(await shop.lane.submit(shop.tasks["fail"].call("stock_code")))
    chromium = browser.context.browser
    assert chromium is not None
    for theme, locale in (("light", "en-GB"), ("dark", "ko-KR")):
        context = await chromium.new_context(color_scheme=theme, locale=locale, bypass_csp=True)  # type: ignore[arg-type]
        for path in ("", "queues", "queues/report", "tasks", "tasks/fail"):
            page = await context.new_page()
            await page.goto(f"{browser.url}/ops/{path}")
            results = await Axe().run(page)
            assert results.violations_count == 0, (path, theme, results.generate_report())
