"""The page of users: who floods, and who costs most; and the same in the terminal."""

import json

import pytest
from playwright.async_api import expect

from sidelane.admin.users import Amount, read_top_users
from sidelane.model.durations import HOUR
from sidelane.model.history import Usage
from sidelane.model.ids import new_id
from sidelane.model.job import JobSpec
from sidelane.model.outcome import AttemptResult, Succeeded
from sidelane.model.worker import ClaimRequest
from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.pages import get, text_of
from tests.dashboard.shop import Shop
from tests.web.clients import Server

LONG = "<script>alert(1)</script>한국어\N{RIGHT-TO-LEFT OVERRIDE}" + "n" * 170


async def use(shop: Shop, user: str | None, jobs: int, **usage: float) -> None:
    """Let a user submit jobs, one of which uses this much."""
    store = shop.lane.client.store
    ids = [new_id() for _ in range(jobs)]
    await store.submit([JobSpec(id=job, task="unknown", queue="q", user=user) for job in ids])
    claims = await store.claim(ClaimRequest(request=new_id(), worker="w", ids=tuple(ids[:1]), lease=30.0))
    used = Usage(**usage)  # type: ignore[arg-type]
    await store.finish(
        [
            AttemptResult(lease=each.lease, outcome=Succeeded("1"), ordinal=1, entries=(), usage=used)
            for each in claims.jobs
        ]
    )


@BOTH_STORES
async def test_page_says_who_floods_and_who_costs_most(server: Server, shop: Shop) -> None:
    await use(shop, "flood", 16, input_tokens=1, cost=0.5)
    await use(shop, "rich", 2, input_tokens=900, output_tokens=100, cost=4.5)
    await use(shop, None, 2, cost=5.0)
    text = text_of(await get(server, "users?since=1h"))
    assert "flood submitted most jobs: 16, 80 % of all." in text
    assert "rich costs most: 4.50, 45 % of all." in text
    assert text.index("rich 2 0 ") < text.index("flood 16 0 ")
    assert "1,000 4.50 45.0 %" in text
    text = text_of(await get(server, "users?by=jobs"))
    assert text.index("flood 16 0 ") < text.index("rich 2 0 ")
    korean = text_of(await get(server, "users", headers={"Accept-Language": "ko"}))
    assert "작업을 가장 많이 제출한 사용자는 flood: 16건, 전체의 80 %." in korean


async def test_page_without_users_and_with_an_unknown_column_say_so(server: Server) -> None:
    assert "No job of a user ran in this time." in text_of(await get(server, "users"))
    for language, said in (("en", "Choose a column of the table."), ("ko", "표의 열을 선택하세요.")):
        page = await get(server, "users?by=shoes", headers={"Accept-Language": language})
        assert page.status_code == 400
        assert said in text_of(page)


async def test_figures_of_several_hours_are_added_up(server: Server, shop: Shop) -> None:
    await use(shop, "ann", 3, cost=0.25)
    found = await read_top_users(shop.lane.client.store, 24 * HOUR)
    (ann,) = found.by(Amount.COST)
    assert (ann.user, ann.submitted, ann.cost) == ("ann", 3, 0.25)
    assert found.share(Amount.COST, ann) == 1.0
    assert json.loads(json.dumps(found.document(Amount.COST, 10)))["all"]["cost"] == 0.25


@pytest.mark.long
@BOTH_STORES
async def test_columns_sort_and_no_name_widens_the_page(browser: Browser, shop: Shop) -> None:
    await use(shop, LONG, 2, cost=1.0)
    await use(shop, "ann", 5)
    page = await browser.open("users")
    page.on("dialog", lambda dialog: browser.errors.append(dialog.message))
    await expect(page.locator("tbody tr").first).to_contain_text("한국어")
    await page.get_by_role("link", name="Jobs", exact=True).last.click()
    await expect(page.locator("tbody tr").first).to_contain_text("ann")
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 800})
        assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
