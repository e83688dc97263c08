"""The page of a job: what it has logged, and its stack on demand."""

import logging
import re
from pathlib import Path

import pytest
from playwright.async_api import expect

from sidelane.admin.job_logs import newest_logs
from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.pages import act, get, text_of
from tests.dashboard.shop import Shop, make_shop
from tests.dashboard.test_job import VIEWER, ended, started
from tests.dashboard.test_job_live import LONG, release, serious
from tests.web.clients import Server

logger = logging.getLogger(__name__)

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture
def shop(tmp_path: Path, store: str, caplog: pytest.LogCaptureFixture) -> Shop:
    """A shop with a task whose jobs keep their logs."""
    caplog.set_level(logging.INFO, __name__)
    made = make_shop(tmp_path, store=store)

    async def note(text: str, count: int = 1) -> None:
        for number in range(count):
            logger.info("%s %d", text, number, extra={"phone": "010-1234", "stock": "005930"})
        if text == "trouble":
            try:
                raise ValueError(text)
            except ValueError:
                logger.exception("could not ask")
        await made.pace.acquire()

    made.tasks["note"] = made.lane.task(queue="chat", keep_logs=True)(note)
    return made


@BOTH_STORES
async def test_records_of_a_job_are_shown_with_the_newest_last(server: Server, shop: Shop) -> None:
    release(shop, 1)
    job = await shop.tasks["note"].submit("trouble", 2)
    await ended(shop, job.id)
    page = await get(server, f"jobs/{job.id}")
    text = text_of(page)
    records = r"INFO attempt 1 \S+ trouble 0 .* INFO attempt 1 \S+ trouble 1 .* ERROR attempt 1 \S+ could not ask"
    assert re.search(rf"Logs All log records .*{records}", text)
    assert "ValueError: trouble" in text
    assert "stock=005930" in text
    assert "010-1234" not in page.text  # masked as in the input
    assert re.search(records, text_of(await get(server, f"jobs/{job.id}/logs")))


async def test_page_without_records_says_how_a_task_keeps_them(server: Server, shop: Shop) -> None:
    job = await shop.tasks["echo"].submit("a")
    await ended(shop, job.id)
    assert "@lane.task(keep_logs=True)" in text_of(await get(server, f"jobs/{job.id}"))
    assert "@lane.task(keep_logs=True)" in text_of(await get(server, f"jobs/{job.id}/logs"))
    assert (await get(server, "jobs/unknown/logs")).status_code == 404


async def test_many_records_come_in_pages_between_other_events(server: Server, shop: Shop) -> None:
    release(shop, 1)
    job = await shop.tasks["note"].submit("line", 260)
    await ended(shop, job.id)
    first = await get(server, f"jobs/{job.id}/logs")
    assert "line 259" in first.text
    assert "line 59 " not in first.text
    older = re.search(r'rel="next" href="(?:\.\./)+([^"]+)"', first.text)
    assert older
    page = await get(server, older[1])
    assert "line 0 " in page.text
    assert "line 59 " in page.text
    assert "line 60 " not in page.text
    assert 'rel="next"' not in page.text


async def test_only_so_many_events_are_searched_for_records(shop: Shop) -> None:
    async with shop.lane.open(workers=1):
        store = shop.lane.client.store
        job = await started(shop, "one two three", 3)
        await ended(shop, job.id)
        page = await newest_logs(store, job.id, limit=10, scan=2)
        assert (page.records, page.before) == ([], 3)
        rest = await newest_logs(store, job.id, limit=10, scan=1000, before=page.before)
        assert (rest.records, rest.before) == ([], None)


@BOTH_STORES
async def test_operator_asks_for_the_stack_of_a_running_job(server: Server, shop: Shop) -> None:
    job = await started(shop, "one two", 1)
    page = await get(server, f"jobs/{job.id}")
    answer = await act(server, f"jobs/{job.id}/stack", page)
    assert answer.status_code == 200
    assert "waits on the event loop" in text_of(answer)
    assert "await shop.pace.acquire()" in text_of(answer)
    release(shop, 1)
    await ended(shop, job.id)
    assert "Ask for the stack" not in text_of(await get(server, f"jobs/{job.id}"))
    gone = await act(server, f"jobs/{job.id}/stack", page)
    assert "No stack: the job does not run: its state is succeeded." in text_of(gone)


async def test_viewer_cannot_ask_for_a_stack(server: Server, shop: Shop) -> None:
    job = await started(shop, "one two", 1)
    assert "Ask for the stack" not in text_of(await get(server, f"jobs/{job.id}", headers=VIEWER))
    page = await get(server, "queues", headers=VIEWER)
    server.client.cookies.set("who", "vic")
    assert (await act(server, f"jobs/{job.id}/stack", page)).status_code == 403


@pytest.mark.long
@BOTH_STORES
async def test_stack_appears_in_the_page_and_records_as_they_come(browser: Browser, shop: Shop) -> None:
    job = await shop.tasks["note"].submit(f"{HOSTILE} {LONG}", 3)
    page = await browser.open(f"jobs/{job.id}")
    await expect(page.locator(".log li")).to_have_count(3)
    await page.get_by_role("button", name="Ask for the stack").click()
    await expect(page.locator("#stack-answer pre")).to_contain_text("await made.pace.acquire()")
    await page.evaluate("document.body.dispatchEvent(new CustomEvent('live:job'))")
    await expect(page.locator("#stack-answer pre")).to_contain_text("await made.pace.acquire()")
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    release(shop, 1)
    await expect(page.locator("h1")).to_have_text("note succeeded")
    await expect(page.locator("#stack")).to_have_count(0)


@pytest.mark.long
@BOTH_STORES
async def test_axe_finds_nothing_serious_about_logs_and_stacks_in_both_languages(browser: Browser, shop: Shop) -> None:
    job = await shop.tasks["note"].submit("trouble", 3)
    chromium = browser.context.browser
    assert chromium is not None
    for locale, ask, title in (("en-GB", "Ask for the stack", "Logs"), ("ko-KR", "스택 요청", "로그")):
        context = await chromium.new_context(bypass_csp=True, color_scheme="dark", locale=locale)
        page = await context.new_page()
        await page.goto(f"{browser.url}/ops/jobs/{job.id}")
        await page.get_by_role("button", name=ask).click()
        await expect(page.locator("#stack-answer pre")).to_be_visible()
        await expect(page.get_by_role("heading", name=title).first).to_be_visible()
        assert await serious(page) == []
        await page.goto(f"{browser.url}/ops/jobs/{job.id}/logs")
        assert await serious(page) == []
        await context.close()
