"""Lists and their pages in a browser: actions by click, hostile names, a phone's width, and what axe-core says."""

import asyncio
import re
from typing import Literal
from urllib.parse import quote

import pytest
from playwright.async_api import expect

from sidelane import Message, Webhook
from sidelane.admin.put_aside import newest_put_aside
from sidelane.client.maintenance import report_worker_exit
from sidelane.client.put_aside import note_put_aside
from sidelane.model.job import JobSpec
from sidelane.model.limit import Limit
from sidelane.model.limit_override import LimitOverride
from sidelane.model.schedule import Schedule
from sidelane.model.worker import ClaimRequest, WorkerInfo
from tests.consumers.put_aside import REASON, Intake, message
from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.shop import Shop
from tests.dashboard.test_job import HOSTILE
from tests.dashboard.test_job_live import LONG, serious
from tests.dashboard.waiting import end_of

pytestmark = pytest.mark.long


@pytest.fixture
def intake(shop: Shop) -> Intake:
    """Request it before the browser, so that the shop's worker knows the consumer."""
    return Intake(shop.lane)


async def fill(shop: Shop, text: str) -> list[str]:
    """Fill every list with something that bears a text, and return the paths of the lists and of one page of each."""
    lane, store = shop.lane, shop.lane.client.store
    worker = WorkerInfo(
        id="w:box:1:a", name=text, host=text, health=text, queues={text: 1}, tasks={text: 1}, release=text
    )
    await store.heartbeat(worker, [], lease=600)
    limit = Limit(name="held", key=text, max=1, on_limit="wait")
    spec = JobSpec(id="", task=text, queue=text, user=text, limits=(limit,))
    for job_id in ("running", "waiting"):
        await store.submit([JobSpec(id=job_id, task=text, queue=text, user=text, limits=(limit,))])
    claim = ClaimRequest(request="r", worker=worker.id, queues={text: 5}, limit=5, lease=600, release=text)
    await store.claim(claim)
    await store.override_limit(LimitOverride(name="held", key=text, max=1, since=1.0, by=text, reason=text))
    dead = WorkerInfo(id="dead:box:1:b", name=text, host=text, release=text)
    await store.heartbeat(dead, [], lease=600)
    await report_worker_exit(store, dead.id, text, lease=600)
    await store.upsert_schedule(Schedule(name="nightly", spec=spec, cron="0 2 * * *"))
    failed = await shop.tasks["fail"].options(user=text).submit(text)
    await lane.client.wait(failed.id, 10)
    batch = await lane.submit_many([shop.tasks["fail"].options(user=text).call(text)], user=text)
    await batch.wait(10)
    await end_of(await shop.tasks["echo"].options(callback=Webhook("http://127.0.0.1:9/x")).submit(text))
    await note_put_aside(store, text, text, text, text)
    intake = Intake(lane, text)
    await intake.put_aside(Message(id=text, body=text, attributes={"text": text}))
    (kept,) = await newest_put_aside(store, 1)
    await store.submit([JobSpec(id="d.sent", task="sidelane.send", queue="parked", user=text, parent="running")])
    return [
        "workers", f"workers/{worker.id}", f"workers/{dead.id}", "schedules", "schedules/nightly", "dead", "limits",
        f"limits/one?id={quote(limit.id)}", f"limits/one?id={quote(limit.id)}&number=5&reason={quote(text)}",
        "batches", f"batches/{batch.id}", "callbacks", "messages", f"messages/{kept.noted.job}",
    ]  # fmt: skip


@BOTH_STORES
@pytest.mark.parametrize("text", [LONG[:200], HOSTILE, "x" * 200], ids=["scripts", "hostile", "unbroken"])
async def test_foreign_text_runs_nothing_and_stays_within_a_phone(browser: Browser, shop: Shop, text: str) -> None:
    for path in await fill(shop, text):
        page = await browser.open(path)
        if path == "dead":
            await page.locator("tbody a").first.click()
        for width in (1280, 390):
            await page.set_viewport_size({"width": width, "height": 800})
            fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert await page.evaluate(fits), (path, width)
        assert await page.evaluate("typeof hacked") == "undefined"
        assert await page.locator("main img").count() == 0
        await page.close()


@BOTH_STORES
async def test_axe_finds_nothing_serious_in_both_themes_and_languages(browser: Browser, shop: Shop) -> None:
    paths = await fill(shop, "plain")
    chromium = browser.context.browser
    assert chromium is not None
    themes: list[tuple[Literal["light", "dark"], str]] = [("light", "en-GB"), ("dark", "ko-KR")]
    for scheme, locale in themes:
        context = await chromium.new_context(bypass_csp=True, color_scheme=scheme, locale=locale)
        page = await context.new_page()
        for path in paths:
            await page.goto(f"{browser.url}/ops/{path}")
            assert await serious(page) == [], (path, scheme)
        await page.goto(f"{browser.url}/ops/dead")
        await page.locator("tbody a").first.click()
        assert await serious(page) == [], ("cause", scheme)
        await context.close()


@BOTH_STORES
async def test_operator_acts_by_click_and_reads_what_was_done(browser: Browser, shop: Shop) -> None:
    await fill(shop, "plain")
    status = (page := await browser.open("schedules")).get_by_role("status")
    await page.get_by_role("button", name="Run now").click()
    await expect(status).to_have_text(re.compile("Submitted job"))
    await page.get_by_role("button", name="Disable").click()
    await expect(status).to_have_text("nightly: disabled")
    await page.get_by_role("link", name="nightly").click()
    await page.get_by_role("button", name="Forget").click()
    await expect(status).to_have_text("nightly: forgotten")
    await expect(page).to_have_url(re.compile("schedules$"))
    await page.get_by_role("link", name="Dead letters").click()
    await page.get_by_role("link", name="KeyError: 'plain'").click()
    await page.get_by_role("button", name="Requeue", exact=True).first.click()
    await expect(status).to_have_text(re.compile("requeued"))
    await page.get_by_role("link", name="Callbacks").click()
    await page.get_by_role("button", name="Redeliver").click()
    await expect(status).to_have_text(re.compile("delivery"))
    batch = await shop.lane.submit_many([shop.tasks["report"].options(user="ann").call() for _ in range(2)])
    await page.goto(f"{browser.url}/ops/batches/{batch.id}")
    await page.get_by_role("button", name="Cancel 2 of its jobs").click()
    await expect(status).to_have_text(re.compile("cancel"))


@BOTH_STORES
async def test_message_is_opened_and_requeued_by_click(intake: Intake, browser: Browser) -> None:
    await intake.put_aside(message("m1"))
    page = await browser.open("messages")
    await page.get_by_role("link", name="m1").click()
    await expect(page.get_by_text(REASON)).to_be_visible()
    await expect(page.get_by_role("heading", name="m1 put aside")).to_be_visible()
    intake.open = True
    await page.get_by_role("button", name="Requeue", exact=True).click()
    await expect(page.get_by_role("status")).to_have_text(re.compile("requeued"))
    await page.get_by_role("link", name="The job that it became").click()
    await expect(page.get_by_role("heading", name="reply-requests succeeded")).to_be_visible()
    await page.goto(f"{browser.url}/ops/messages")
    await expect(page.get_by_text("No message was put aside.")).to_be_visible()


@BOTH_STORES
async def test_jobs_that_wait_for_a_limit_are_paged_by_click(shop: Shop, browser: Browser) -> None:
    limit = Limit(name="held", key="ann", max=1, on_limit="wait")
    store = shop.lane.client.store
    await store.submit([JobSpec(id=f"j{number}", task="t", queue="q", limits=(limit,)) for number in range(61)])
    await store.claim(ClaimRequest(request="r", worker="w", queues={"q": 100}, limit=100, lease=600))
    page = await browser.open("limits/one?id=held/ann")
    await page.get_by_role("link", name="Next").click()
    await expect(page.locator("#job-j60")).to_be_visible()
    await expect(page.locator("#job-j1")).to_have_count(0)
    await page.get_by_role("link", name="First").click()
    await expect(page.locator("#job-j1")).to_be_visible()


@BOTH_STORES
async def test_worker_that_appears_is_shown_on_an_open_page(browser: Browser, shop: Shop) -> None:
    page = await browser.open("workers")
    await expect(page.locator("#clock")).not_to_have_class(re.compile("away"))
    await page.wait_for_timeout(1500)  # until the page's feed has looked once
    info = WorkerInfo(id="late:box:1:a", name="late", host="box")
    await shop.lane.client.store.heartbeat(info, [], lease=60)
    await expect(page.get_by_role("link", name="late")).to_be_visible(timeout=10_000)


@BOTH_STORES
@pytest.mark.parametrize(
    ("language", "texts"),
    [
        ("en", ("Drain…", "Drain this worker", "drained", "Take jobs again", "Pause", "Resume")),
        ("ko", ("비우기…", "이 워커 비우기", "비워짐", "다시 작업 받기", "일시 중지", "재개")),
    ],
)
async def test_worker_and_batch_are_held_and_released_by_click(
    browser: Browser, shop: Shop, language: str, texts: tuple[str, ...]
) -> None:
    ask, drain, drained, resume, pause, end = texts
    await browser.context.add_cookies([{"name": "sidelane_language", "value": language, "url": browser.url}])
    store = shop.lane.client.store
    while not (workers := [each for each in await store.workers() if each.kind == "worker"]):
        await asyncio.sleep(0.05)
    page = await browser.open(f"workers/{workers[0].id}")
    await page.get_by_text(ask, exact=True).click()
    await page.get_by_role("button", name=drain).click()
    await expect(page.locator("h1")).to_contain_text(drained, timeout=10_000)
    await page.get_by_role("button", name=resume).click()
    report = await shop.lane.submit_many([shop.tasks["report"].options(user="ann").call() for _ in range(2)])
    await page.goto(f"{browser.url}/ops/batches/{report.id}")
    await page.get_by_role("button", name=pause, exact=True).first.click()
    await page.get_by_role("button", name=end, exact=True).click()
    await expect(page.get_by_role("button", name=pause, exact=True).first).to_be_visible()
    shop.pace.release()
    shop.pace.release()
    assert (await report.wait(10)).succeeded == 2
