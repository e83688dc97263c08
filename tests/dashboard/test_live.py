"""Pages change while they are looked at."""

import asyncio

import pytest
from playwright.async_api import expect

from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.shop import Shop

pytestmark = pytest.mark.long


@BOTH_STORES
async def test_queue_that_gets_a_job_changes_on_an_open_page_within_a_second(browser: Browser, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    page = await browser.open("queues")
    await asyncio.sleep(1)
    await shop.lane.submit(shop.tasks["answer"].call("a b c"))
    await expect(page.get_by_role("row", name="chat").get_by_role("cell", name="1/100")).to_be_visible(timeout=1000)
