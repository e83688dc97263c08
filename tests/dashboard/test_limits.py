"""Pages of limits: how full each is, which jobs use it, and which wait."""

import re

import pytest
from playwright.async_api import expect

from sidelane.admin.audit import read_audit
from sidelane.model.job import JobSpec
from sidelane.model.limit import Limit
from sidelane.model.worker import ClaimRequest
from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.pages import act, get, text_of
from tests.dashboard.shop import Shop
from tests.dashboard.waiting import until
from tests.web.clients import Server


async def fill(shop: Shop) -> None:
    """Let one job of a user run, and two wait for the limit of the user."""
    for _ in range(3):
        await shop.tasks["report"].options(user="a/b&c").submit()

    async def full() -> bool:
        return any(each.waiting == 2 for each in await shop.lane.client.store.limits())

    await until(full)


@BOTH_STORES
async def test_list_shows_used_waiting_and_when_the_next_is_admitted(server: Server, shop: Shop) -> None:
    await fill(shop)
    assert "one-each full a/b&c 1/1 2 when a job ends" in text_of(await get(server, "limits"))


async def test_rate_shows_when_it_admits_the_next_job(server: Server, shop: Shop) -> None:
    rate = Limit(name="smtp", key="all", max=1, window=60.0, on_limit="wait")
    await shop.lane.client.store.submit(
        [JobSpec(id=f"m{n}", task="echo", queue="chat", arguments='{"text":"a"}', limits=(rate,)) for n in range(2)]
    )

    async def used() -> bool:
        return bool(await shop.lane.client.store.limits())

    await until(used)
    assert re.search(r"smtp full all 1/1 \d in (1 min|\d+ s)", text_of(await get(server, "limits")))
    assert "Declared 1 per 1 min" in text_of(await get(server, "limits/one?id=smtp/all"))


@BOTH_STORES
async def test_page_of_a_limit_lists_the_jobs_that_use_it_and_those_that_wait(server: Server, shop: Shop) -> None:
    await fill(shop)
    page = await get(server, "limits")
    link = re.search(r'href="\./(limits/one\?id=[^"]+)"', page.text)
    assert link
    text = text_of(await get(server, link[1]))
    assert "Used 1/1 Waiting 2" in text
    assert "1 at once When it is full jobs wait" in text
    assert "Jobs that use it the newest 1" in text
    assert "Jobs that wait for it the first to start is first" in text


@BOTH_STORES
async def test_all_jobs_that_wait_are_listed_in_pages_in_the_order_of_their_starts(server: Server, shop: Shop) -> None:
    limit = Limit(name="held", key="a/b&c", max=1, on_limit="wait")
    store = shop.lane.client.store
    specs = [JobSpec(id=f"j{n}", task="t", queue="q", priority=n % 2, limits=(limit,)) for n in range(121)]
    await store.submit(specs)
    await store.claim(ClaimRequest(request="r", worker="w", queues={"q": 200}, limit=200, lease=600))
    page, found = await get(server, "limits/one?id=held/a%2Fb%26c"), list[str]()
    while True:
        waiting = page.text[page.text.index("Jobs that wait for it") :]
        found += re.findall(r'id="job-(j\d+)"', waiting)
        following = re.search(r'href="\.\./limits/one(\?[^"]+)" rel="next"', page.text)
        if following is None:
            break
        page = await get(server, f"limits/one{following[1].replace('&amp;', '&')}")
    assert found == [f"j{n}" for n in (*range(3, 121, 2), *range(0, 121, 2))]
    assert "No further job waits for it." in text_of(await get(server, "limits/one?id=held/a%2Fb%26c&after=-9.0"))
    assert "j3" in (await get(server, "limits/one?id=held/a%2Fb%26c&after=nonsense")).text


async def test_list_is_filtered_by_the_begin_of_a_name(server: Server, shop: Shop) -> None:
    await fill(shop)
    assert "one-each" in text_of(await get(server, "limits?name=one"))
    assert "No limit whose name begins with this is in use." in text_of(await get(server, "limits?name=two"))


async def test_limit_that_is_not_in_use_says_so(server: Server) -> None:
    assert "This limit is not in use now" in text_of(await get(server, "limits/one?id=gone/key"))
    assert "No limit is in use." in text_of(await get(server, "limits"))


ONE = "limits/one?id=one-each%2Fa%2Fb%26c"


async def test_a_number_is_changed_after_a_confirmation_that_names_it(server: Server, shop: Shop) -> None:
    await fill(shop)
    asked = await get(server, f"{ONE}&keys=one&number=2&for=8h&reason=quiet%20night")
    assert "Set one-each/a/b&c to 2 at once?" in text_of(asked)
    assert await shop.lane.client.store.limit_overrides() == []
    fields = {"target": "one-each/a/b&c", "number": "2", "for": "8h", "reason": "quiet night"}
    changed = await act(server, "limits/one/change", asked, **fields)
    assert changed.headers["location"].endswith(ONE)
    page = await get(server, ONE)
    text = text_of(page)
    assert "one-each/a/b&c: 2 at once for 8 h, declared: 1 at once" in text
    assert "In force 2 at once this key" in text
    assert "Changed by ann" in text
    assert "“quiet night”" in text
    assert "Used 2/2 Waiting 1" in text
    assert "changed a/b&c 2/2 1" in text_of(await get(server, "limits"))
    await act(server, "limits/one/restore", page, target="one-each/a/b&c")
    assert "the declared number is in force" in text_of(await get(server, "limits"))
    lines = (await read_audit(shop.lane.client.store)).lines
    assert [(line.action, line.target, line.failed) for line in lines] == [
        ("limit.restore", "one-each/a/b&c", False),
        ("limit.change", "one-each/a/b&c", False),
    ]
    assert lines[1].reason == "quiet night"


async def test_a_number_is_changed_for_all_keys(server: Server, shop: Shop) -> None:
    await fill(shop)
    page = await get(server, f"{ONE}&keys=all&number=3&for=&reason=")
    assert "For all keys that were not changed alone." in text_of(page)
    await act(server, "limits/one/change", page, target="one-each", number="3", reason="")
    text = text_of(await get(server, "limits"))
    assert "Changed limits" in text
    assert "one-each all keys 3 at once 1 at once until an operator restores it" in text
    assert "In force 3 at once all keys" in text_of(await get(server, "limits/one?id=one-each"))


@pytest.mark.parametrize(
    ("number", "sentence"),
    [("0", "A limit is at least 1."), ("5/hour", "counts jobs: write a number"), ("x", "'x': write a number of jobs")],
)
async def test_a_number_that_makes_no_sense_is_refused_beside_its_field(
    server: Server, shop: Shop, number: str, sentence: str
) -> None:
    await fill(shop)
    page = await get(server, f"{ONE}&number={number}&reason=kept")
    assert sentence in text_of(page)
    assert 'value="kept"' in page.text
    refused = await act(server, "limits/one/change", page, target="one-each/a/b&c", number=number)
    assert refused.status_code == 422
    assert await shop.lane.client.store.limit_overrides() == []


async def test_an_unknown_limit_is_not_changed(server: Server, shop: Shop) -> None:
    page = await get(server, "limits/one?id=gone&number=5")
    assert "There is no limit 'gone'." in text_of(page)
    assert (await act(server, "limits/one/change", page, target="gone", number="5")).status_code == 404
    (line,) = (await read_audit(shop.lane.client.store)).lines
    assert (line.target, line.failed) == ("gone", True)


async def test_a_viewer_changes_no_limit(server: Server, shop: Shop) -> None:
    await fill(shop)
    page = await get(server, f"{ONE}&number=5")
    server.client.cookies.set("who", "vic")
    assert "Change the number" not in text_of(await get(server, ONE))
    seen = await get(server, ONE)
    for path in ("change", "restore"):
        refused = await server.client.post(f"/ops/limits/one/{path}", data={"target": "one-each", "number": "5"})
        assert refused.status_code == 403
        assert (await act(server, f"limits/one/{path}", seen, target="one-each", number="5")).status_code == 403
    assert page.status_code == 200
    assert await shop.lane.client.store.limit_overrides() == []


@pytest.mark.long
@BOTH_STORES
async def test_an_operator_changes_a_limit_and_restores_it_by_clicks_alone(browser: Browser, shop: Shop) -> None:
    await fill(shop)
    page = await browser.open("limits")
    await page.get_by_role("link", name="one-each").click()
    await page.get_by_label("Number or rate").fill("2")
    await page.get_by_label("Until").select_option("24h")
    await page.get_by_label("Reason").fill("a second account")
    await page.get_by_role("button", name="Change…").click()
    await page.get_by_role("button", name="Set one-each/a/b&c to 2 at once").click()
    await expect(page.get_by_text("2 at once for 1 day, declared: 1 at once")).to_be_visible()
    await expect(page.get_by_text("2/2")).to_be_visible()
    await page.get_by_role("button", name="Restore one-each/a/b&c").click()
    await expect(page.get_by_text("the declared number is in force")).to_be_visible()
    await expect(page.get_by_role("heading", name="Change the number")).to_be_visible()
