"""The whole dashboard in a browser: every page with hostile data, small, light, accessible, and live only while it is looked at."""

import asyncio
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from typing import Literal
from urllib.parse import quote

import pytest
from playwright.async_api import Page, expect

from sidelane.admin import audit, bulk
from sidelane.admin.shared_reads import SharedReads
from sidelane.client.bulk_actions import BulkKind
from sidelane.model.job import JobRecord, Query
from sidelane.telemetry import StoreCalled
from sidelane.web.dashboard.feed import INTERVAL, Feed
from sidelane.web.dashboard.site import NAVIGATION
from tests.contract.servers import RunningServer
from tests.dashboard.conftest import MAX_WEIGHT, Browser, weight
from tests.dashboard.pages import get
from tests.dashboard.shop import Shop
from tests.dashboard.test_job_live import LONG, serious
from tests.dashboard.test_lists_in_browser import fill
from tests.web.clients import Server

HOSTILE = "<script>hacked()</script><img src=x onerror=hacked()> \N{RIGHT-TO-LEFT OVERRIDE}" + LONG[:140]

STARTS = [path for _, path, _ in NAVIGATION]


async def paths(shop: Shop, text: str) -> list[str]:
    """Fill the store with data of every kind that bears a text, and return the path of every page."""
    lists = await fill(shop, text)
    job = await shop.tasks["echo"].options(user=text, key=text, labels={"plan": text}).submit(text)
    await job.result(timeout=10)
    store = shop.lane.client.store
    await audit.record(store, audit.AuditLine(by=text, action="queue.pause", target=text, reason=text, result=text))
    action = await bulk.capture(
        store, BulkKind.PURGE, _pages(await store.list_jobs(Query())), filter_text=text, by=text
    )
    segment = quote(text, safe="")
    forms = ["jobs/new", "jobs/new?task=echo", f"jobs/{job.id}/edit", f"jobs/{job.id}/duplicate"]
    details = [
        f"queues/{segment}",
        "queues/chat",
        "tasks/echo",
        f"jobs/{job.id}",
        "jobs/running",
        "jobs/waiting",
        "bulk",
        f"bulk/{action.id}",
    ]
    return [*dict.fromkeys([*STARTS, *lists, *details, *forms, "jobs/gone"])]


async def _pages(records: Sequence[JobRecord]) -> AsyncIterator[Sequence[JobRecord]]:
    yield records


@pytest.mark.long
@pytest.mark.parametrize("store", ["sqlite", "valkey"], indirect=True)
async def test_every_page_has_a_heading_and_title_is_light_and_fits_a_phone(browser: Browser, shop: Shop) -> None:
    for path in await paths(shop, HOSTILE):
        page = await browser.open(path)
        assert await page.locator("h1").count() == 1, path
        assert await page.title() not in ("", " · Sidelane · shop"), path
        assert await weight(page) <= MAX_WEIGHT, path
        for width in (1280, 390):
            await page.set_viewport_size({"width": width, "height": 800})
            assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0, (path, width)
        assert await page.evaluate("typeof hacked") == "undefined", path
        await page.close()
    browser.errors[:] = [each for each in browser.errors if "404" not in each]  # of the job that is gone


@pytest.mark.long
@pytest.mark.parametrize("locale", ["en-GB", "ko-KR"])
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_axe_finds_nothing_serious_on_any_page(
    browser: Browser, shop: Shop, scheme: Literal["light", "dark"], locale: str
) -> None:
    chromium = browser.context.browser
    assert chromium is not None
    context = await chromium.new_context(bypass_csp=True, color_scheme=scheme, locale=locale)
    page = await context.new_page()
    found = {}
    for path in await paths(shop, "plain"):
        await page.goto(f"{browser.url}/ops/{path}")
        found[path] = await serious(page)
    assert {path: each for path, each in found.items() if each} == {}


@pytest.mark.long
@pytest.mark.parametrize("store", ["valkey"], indirect=True)
async def test_page_says_that_the_store_is_away_and_comes_back_by_itself(
    browser: Browser, shop: Shop, valkey: RunningServer
) -> None:
    await shop.tasks["echo"].submit("a")
    page = await browser.open("queues")
    await expect(page.get_by_role("link", name="chat")).to_be_visible()
    await asyncio.sleep(3 * INTERVAL)  # the feed has looked
    valkey.stop(signal.SIGKILL)
    try:
        away = "The store does not answer."
        await expect(page.get_by_text(away)).to_be_visible(timeout=10_000)
        opened = await browser.open("jobs")
        await expect(opened.get_by_text(away)).to_be_visible()
        await asyncio.sleep(3 * INTERVAL)
    finally:
        valkey.start()
    await expect(page.get_by_role("link", name="chat")).to_be_visible(timeout=15_000)
    await expect(opened.get_by_role("heading", name="Jobs")).to_be_visible(timeout=15_000)
    browser.errors[:] = [each for each in browser.errors if "503" not in each]  # what Chromium says of the answers


@pytest.mark.long
async def test_hidden_tab_asks_nothing_and_reads_what_it_missed_when_it_is_seen(browser: Browser, shop: Shop) -> None:
    page = await browser.open("queues")
    await asyncio.sleep(3 * INTERVAL)
    await _set_hidden(page, hidden=True)
    await asyncio.sleep(INTERVAL)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await shop.tasks["echo"].submit("a")
    await asyncio.sleep(4 * INTERVAL)
    assert asked == []
    await _set_hidden(page, hidden=False)
    await expect(page.get_by_role("link", name="chat")).to_be_visible(timeout=10_000)


async def _set_hidden(page: Page, *, hidden: bool) -> None:
    await page.evaluate(
        "hidden => { Object.defineProperty(document, 'hidden', {value: hidden, configurable: true});"
        " document.dispatchEvent(new Event('visibilitychange')); }",
        hidden,
    )


@pytest.mark.long
async def test_one_poller_feeds_all_tabs_and_stops_with_the_last(server: Server, shop: Shop) -> None:
    calls: Counter[str] = Counter()
    shop.lane.telemetry.subscribe(lambda event: calls.update([event.verb]), StoreCalled)
    feed = Feed(SharedReads(shop.lane.client.store))

    async def hear() -> None:
        async for changed in feed.changes():  # the first may be a heartbeat
            if "jobs" in changed:
                return

    tabs = [asyncio.create_task(hear()) for _ in range(10)]
    await asyncio.sleep(2.5 * INTERVAL)
    assert 2 <= calls["stats"] <= 4
    await shop.tasks["echo"].submit("a")
    async with asyncio.timeout(10):
        await asyncio.gather(*tabs)
    await asyncio.sleep(2 * INTERVAL)
    calls.clear()
    await asyncio.sleep(2 * INTERVAL)
    assert calls["stats"] == 0


async def test_assets_are_kept_for_a_year_and_change_their_url_with_their_content(server: Server) -> None:
    url = re.search(r'\./(static/dashboard\.js\?v=[0-9a-f]{12})"', (await get(server, "queues")).text)
    assert url
    assert "immutable" in (await get(server, url[1])).headers["cache-control"]
    for other in ("static/dashboard.js", "static/dashboard.js?v=of-another-release"):
        assert (await get(server, other)).headers["cache-control"] == "no-cache"


async def test_assets_are_compressed_for_browsers_that_know_it(server: Server) -> None:
    answers = [
        await get(server, "static/htmx.min.js", headers={"Accept-Encoding": each}) for each in ("gzip", "identity")
    ]
    assert answers[0].content == answers[1].content
    assert int(answers[0].headers["content-length"]) < int(answers[1].headers["content-length"]) / 2
