"""Pages of jobs in a browser: live text, a reload, hostile text, long names, and what axe-core says."""

import asyncio
import re
import time
from typing import Literal

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from sidelane import Job
from sidelane.model.job import JobSpec
from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.shop import Shop
from tests.dashboard.test_job import HOSTILE
from tests.dashboard.waiting import seconds_until

pytestmark = pytest.mark.long

LONG = "아주 긴 이름 🚀 مستخدم " * 9
"""About 200 characters, of several scripts."""


def release(shop: Shop, count: int) -> None:
    for _ in range(count):
        shop.pace.release()


async def answer(shop: Shop, words: str, count: int = 0) -> Job[str]:
    """Submit a job that answers with some words, and let it yield the first `count`."""
    job: Job[str] = await shop.tasks["answer"].submit(words)
    release(shop, count)
    return job


@pytest.mark.row("R27")
@BOTH_STORES
async def test_token_appears_within_300_ms_and_a_reload_continues_without_doubles(browser: Browser, shop: Shop) -> None:
    words = [f"word-{number} " for number in range(10)]
    job = await answer(shop, "".join(words).strip(), 2)
    page = await browser.open(f"jobs/{job.id}")
    text = page.locator(".say-text").first
    await expect(text).to_have_text("".join(words[:2]))
    await asyncio.sleep(0.5)  # the stream is open
    seconds = []
    for count in range(3, 9):
        release(shop, 1)
        seconds.append(await seconds_until(expect(text).to_have_text("".join(words[:count]), timeout=10_000)))
    assert min(seconds) < 0.3, seconds
    await page.reload()
    await expect(text).to_have_text("".join(words[:8]))
    release(shop, 2)
    await expect(text).to_have_text("".join(words))
    await expect(page.locator("h1")).to_have_text("answer succeeded")
    await expect(text).to_have_text("".join(words))
    await expect(page.get_by_text("live", exact=True)).to_have_count(0)


@BOTH_STORES
async def test_job_is_followed_from_its_queue_through_two_attempts(browser: Browser, shop: Shop) -> None:
    await shop.lane.client.store.pause("chat")
    job = await answer(shop, "one two")
    page = await browser.open(f"jobs/{job.id}")
    await expect(page.locator("dd.first")).to_contain_text("is paused")
    await shop.lane.client.store.pause("chat", paused=False)
    release(shop, 2)
    await expect(page.locator("h1")).to_have_text("answer succeeded")
    await expect(page.locator(".say-text").first).to_have_text("one two ")
    await page.get_by_role("button", name="Requeue", exact=True).click()
    release(shop, 2)
    await expect(page.get_by_role("heading", name="Attempt 2")).to_be_visible()
    await expect(page.locator(".say-text")).to_have_text(["one two ", "one two "])
    await expect(page.locator("h1")).to_have_text("answer succeeded")


async def test_new_attempt_begins_beside_the_old_one_on_an_open_page(browser: Browser, shop: Shop) -> None:
    job = await answer(shop, "one two", 2)
    await job.result(timeout=10)
    page = await browser.open(f"jobs/{job.id}")
    await shop.lane.client.requeue(job.id)
    await page.evaluate("document.body.dispatchEvent(new CustomEvent('live:job'))")
    release(shop, 1)
    await expect(page.get_by_role("heading", name="Attempt 2")).to_be_visible(timeout=10_000)
    await expect(page.locator(".say-text")).to_have_text(["one ", "one two "])
    release(shop, 1)
    await expect(page.locator(".say-text").first).to_have_text("one two ")


async def test_ten_thousand_tokens_do_not_slow_the_page(browser: Browser, shop: Shop) -> None:
    job = await answer(shop, "w " * 10_000)
    page = await browser.open(f"jobs/{job.id}")
    release(shop, 10_000)
    await expect(page.locator("h1")).to_have_text("answer succeeded", timeout=30_000)
    await expect(page.locator(".tokens").first).to_have_text("10,000", timeout=10_000)
    assert len(await page.locator(".say-text").first.inner_text()) == 20_000
    begun = time.monotonic()
    await page.locator("summary", has_text="Timeline in words").click()
    assert time.monotonic() - begun < 1


async def test_job_that_is_removed_while_it_is_looked_at_says_so(browser: Browser, shop: Shop) -> None:
    job = await answer(shop, "one", 1)
    await job.result(timeout=10)
    page = await browser.open(f"jobs/{job.id}")
    await shop.lane.client.store.remove([job.id])
    await page.evaluate("document.body.dispatchEvent(new CustomEvent('live:job'))")
    await expect(page.locator(".empty")).to_contain_text(job.id)
    browser.errors.clear()  # the console tells of the 404


@BOTH_STORES
async def test_job_submitted_elsewhere_appears_in_the_list_within_a_second(browser: Browser, shop: Shop) -> None:
    await shop.tasks["echo"].submit("a")
    page = await browser.open("jobs")
    await page.get_by_label("User").fill("half-typed")
    await asyncio.sleep(1)
    seconds = []
    for _ in range(5):
        job = await shop.tasks["echo"].submit("b")
        shown = expect(page.locator(f"#job-{job.id}")).to_be_visible(timeout=10_000)
        seconds.append(await seconds_until(shown))
    assert min(seconds) <= 1, seconds
    await expect(page.get_by_label("User")).to_have_value("half-typed")


@BOTH_STORES
async def test_operator_filters_opens_edits_and_requeues_by_keyboard_and_mouse(browser: Browser, shop: Shop) -> None:
    job = await shop.tasks["fail"].options(user="ann").submit("x")
    await shop.lane.client.wait(job.id, 10)
    page = await browser.open("jobs")
    await page.get_by_label("User").fill("ann")
    await page.get_by_label("User").press("Enter")
    await expect(page).to_have_url(re.compile("user=ann"))
    await page.locator(f"#job-{job.id} a").click()
    await page.get_by_role("link", name="Requeue with other input…").click()
    await page.get_by_label("Input, a JSON object").fill('{"message": 7}')
    await page.get_by_role("button", name="Requeue job").click()
    await expect(page.get_by_role("alert")).to_contain_text("does not fit task 'fail'")
    await expect(page.get_by_label("Input, a JSON object")).to_have_value('{"message": 7}')
    browser.errors.clear()  # the console tells of the 422
    await page.get_by_label("Input, a JSON object").fill('{"message": "y"}')
    await page.get_by_role("button", name="Requeue job").click()
    await expect(page.get_by_role("status")).to_contain_text("requeued")
    await expect(page.locator("dd.first")).to_contain_text("KeyError: 'y'")


@BOTH_STORES
async def test_hostile_and_long_names_run_nothing_and_stay_within_a_phone(browser: Browser, shop: Shop) -> None:
    store = shop.lane.client.store
    specs = [
        JobSpec(id=f"j{n}", task=text, queue=text, user=text, key=text, labels={text[:100]: text}, arguments=f'"{n}"')
        for n, text in enumerate((LONG, HOSTILE, "x" * 200))
    ]
    await store.submit([*specs, JobSpec(id="i" * 128, task="t", queue="q")])
    failed = await shop.tasks["fail"].submit(LONG + HOSTILE)
    streamed = await answer(shop, HOSTILE + " " + "y" * 500, 40)
    await shop.lane.client.wait(failed.id, 10)
    paths = ["jobs", f"jobs/{failed.id}", f"jobs/{streamed.id}", f"jobs/{streamed.id}/events", f"jobs/{'i' * 128}"]
    paths += [f"jobs/j{n}{page}" for n in range(3) for page in ("", "/edit")]
    for path in paths:
        page = await browser.open(path)
        for width in (1280, 390):
            await page.set_viewport_size({"width": width, "height": 800})
            fits = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert await page.evaluate(fits), (path, width)
        assert await page.evaluate("typeof hacked") == "undefined"
        assert await page.locator("main img").count() == 0
        await page.close()


@BOTH_STORES
async def test_axe_finds_nothing_serious_in_both_themes_and_languages(browser: Browser, shop: Shop) -> None:
    await answer(shop, "one two")
    done = await answer(shop, "one two", 4)
    failed = await shop.tasks["fail"].submit("x")
    await shop.lane.client.wait(failed.id, 10)
    await asyncio.sleep(0.5)
    paths = ["jobs", "jobs?state=tired", f"jobs/{done.id}", f"jobs/{failed.id}", f"jobs/{failed.id}/edit", "jobs/new",
             "jobs/new?task=answer", f"jobs/{done.id}/events"]  # fmt: skip
    chromium = browser.context.browser
    assert chromium is not None
    themes: list[tuple[Literal["light", "dark"], str]] = [("light", "en-GB"), ("dark", "ko-KR")]
    for scheme, locale in themes:
        context = await chromium.new_context(bypass_csp=True, color_scheme=scheme, locale=locale)
        page = await context.new_page()
        for path in paths:
            await page.goto(f"{browser.url}/ops/{path}")
            assert await serious(page) == [], (path, scheme)
        await context.close()


async def serious(page: Page) -> list[str]:
    """Return the serious findings of axe-core on a page."""
    results = await Axe().run(page)
    return [
        f"{found['id']}: {found['nodes'][0]['html']}"
        for found in results.response["violations"]
        if found["impact"] in ("serious", "critical")
    ]
