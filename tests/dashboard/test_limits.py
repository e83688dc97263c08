"""Pages of limits: how full each is, which jobs use it, and which wait."""

import re

from sidelane.model.job import JobSpec
from sidelane.model.limit import Limit
from sidelane.model.worker import ClaimRequest
from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import get, text_of
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
    assert "Declared 1 in 1 min, 1 at once" in text_of(await get(server, "limits/one?id=smtp/all"))


@BOTH_STORES
async def test_page_of_a_limit_lists_the_jobs_that_use_it_and_those_that_wait(server: Server, shop: Shop) -> None:
    await fill(shop)
    page = await get(server, "limits")
    link = re.search(r'href="\./(limits/one\?id=[^"]+)"', page.text)
    assert link
    text = text_of(await get(server, link[1]))
    assert "Used 1/1 Waiting 2" in text
    assert "1 at the same time When it is full jobs wait" in text
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
    assert "This limit is not in use now" in text_of(await get(server, "limits/one?id=gone"))
    assert "No limit is in use." in text_of(await get(server, "limits"))
