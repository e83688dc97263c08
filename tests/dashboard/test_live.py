"""Pages change while they are looked at."""

import asyncio

import pytest
from playwright.async_api import Route, expect

from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.shop import Shop
from tests.dashboard.waiting import seconds_until

pytestmark = pytest.mark.long


async def test_page_is_live_again_after_its_stream_was_refused(browser: Browser, shop: Shop) -> None:
    refused = 0

    async def refuse_once(route: Route) -> None:
        nonlocal refused
        refused += 1
        await (route.fulfill(status=503) if refused == 1 else route.continue_())

    await browser.context.route("**/ops/live", refuse_once)
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    page = await browser.open("queues")
    await expect(page.locator("#clock.away")).to_be_visible()
    await expect(page.locator("#clock:not(.away)")).to_be_visible(timeout=10_000)
    await asyncio.sleep(1)
    await shop.lane.submit(shop.tasks["answer"].call("a b c"))
    await expect(page.get_by_role("row", name="chat").get_by_role("cell", name="1/100")).to_be_visible(timeout=10_000)
    browser.errors[:] = [each for each in browser.errors if "503" not in each]  # what Chromium says of the answer


@pytest.mark.row("R27")
@BOTH_STORES
async def test_queue_that_gets_a_job_changes_on_an_open_page_within_a_second(browser: Browser, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    page = await browser.open("queues")
    await asyncio.sleep(1)
    chat, seconds = page.get_by_role("row", name="chat"), []
    for running in range(1, 6):
        await shop.lane.submit(shop.tasks["answer"].call("a b c"))
        shown = expect(chat.get_by_role("cell", name=f"{running}/100")).to_be_visible(timeout=10_000)
        seconds.append(await seconds_until(shown))
    assert min(seconds) <= 1, seconds
