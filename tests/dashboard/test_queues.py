"""Pages of queues: waits, rates, what holds jobs, whose jobs are in line; pause, resume and drain."""

import re
from typing import Any

import pytest
from playwright.async_api import expect

from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.pages import act, get, text_of
from tests.dashboard.shop import Shop
from tests.dashboard.waiting import end_of, until
from tests.web.clients import Server


async def submit_for(shop: Shop, user: str, count: int) -> list[Any]:
    call = shop.tasks["report"].options(user=user).call()
    return [await shop.lane.submit(call) for _ in range(count)]


async def stats_of(shop: Shop, name: str) -> Any:
    return next(each for each in await shop.lane.client.store.stats() if each.name == name)


@BOTH_STORES
async def test_queue_shows_who_is_in_line_and_which_limit_holds_them(server: Server, shop: Shop) -> None:
    await submit_for(shop, "flooder", 4)
    await submit_for(shop, "other", 1)

    async def both_run() -> bool:
        stats = await stats_of(shop, "report")
        return bool(stats.running == 2 and stats.waiting_for_limit == 3)

    await until(both_run)
    page = await get(server, "queues/report")
    assert "flooder 3 3 1 1 " in text_of(page)
    assert "other 0 0 1 1 " in text_of(page)
    assert "0 ready, 0 not due, 3 for a limit" in text_of(page)
    assert "3 one-each" in text_of(page)
    assert "all jobs of the queue" in text_of(page)
    assert 'href="../jobs?queue=report&amp;user=flooder"' in page.text


async def test_list_shows_target_waiting_and_limit_of_each_queue(server: Server, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["answer"].call("a b"))
    await until(lambda: _runs(shop, "chat"))
    row = re.search(r'<tr id="queue-chat">.*?</tr>', (await get(server, "queues")).text, re.DOTALL)
    assert row is not None
    assert ">10 s</td>" in row[0]
    assert "1/100" in row[0]
    assert 'href="./queues/chat"' in row[0]


async def _runs(shop: Shop, name: str) -> bool:
    return bool((await stats_of(shop, name)).running)


async def test_period_of_the_charts_is_chosen_by_the_url(server: Server, shop: Shop) -> None:
    await end_of(await shop.lane.submit(shop.tasks["echo"].call("a")))
    for name in ("1h", "24h", "72h"):
        page = await get(server, f"queues/chat?since={name}")
        assert f'<a href="?since={name}" aria-current="true">' in page.text
        assert page.text.count("data-chart=") == 2
    wrong = await get(server, "queues/chat?since=7y")
    assert wrong.status_code == 400
    assert "choose one of 1h, 24h, 72h" in text_of(wrong)


async def test_unknown_queue_is_named(server: Server) -> None:
    page = await get(server, "queues/chta")
    assert page.status_code == 404
    assert "never seen a job or a worker of queue 'chta'" in text_of(page)


async def test_queue_shows_its_tasks_and_workers(server: Server, shop: Shop) -> None:
    await end_of(await shop.lane.submit(shop.tasks["echo"].call("a")))
    page = await get(server, "queues/chat")
    assert 'href="../tasks/echo"' in page.text
    assert "embedded" in text_of(page)


@BOTH_STORES
async def test_operator_drains_a_queue_and_sees_when_it_is_drained(server: Server, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["answer"].call("a"))
    await until(lambda: _runs(shop, "chat"))
    answer = await act(server, "queues/chat/drain", await get(server, "queues/chat"))
    assert answer.status_code == 303
    text = text_of(await get(server, "queues/chat"))
    assert "chat: not drained: 1 job still running; the queue stays paused" in text
    assert "paused, 1 still running" in text
    shop.pace.release()

    async def ended() -> bool:
        return not await _runs(shop, "chat")

    await until(ended)
    page = await get(server, "queues/chat")
    await act(server, "queues/chat/drain", page)
    assert "drained: no job is running" in text_of(await get(server, "queues/chat"))
    await act(server, "queues/chat/resume", page)
    assert not (await stats_of(shop, "chat")).paused


@pytest.mark.parametrize("action", ["pause", "resume", "drain"])
async def test_viewer_neither_pauses_nor_drains(server: Server, shop: Shop, action: str) -> None:
    await end_of(await shop.lane.submit(shop.tasks["echo"].call("a")))
    viewer = {"Cookie": "who=vic"}
    page = await get(server, "queues/chat", headers=viewer)
    assert "Drain" not in text_of(page)
    answer = await act(server, f"queues/chat/{action}", page)
    assert answer.status_code == 403


@pytest.mark.long
@BOTH_STORES
async def test_operator_pauses_resumes_and_drains_in_a_browser(browser: Browser, shop: Shop) -> None:
    await end_of(await shop.lane.submit(shop.tasks["echo"].call("a")))
    page = await browser.open("queues")
    row = page.get_by_role("row", name="chat")
    await row.get_by_role("button", name="Pause").click()
    await expect(row.get_by_text("paused")).to_be_visible()
    await row.get_by_role("link", name="chat").click()
    await page.get_by_role("button", name="Resume").click()
    await expect(page.get_by_text("chat: resumed")).to_be_visible()
    job = await shop.lane.submit(shop.tasks["answer"].call("a"))
    await until(lambda: _runs(shop, "chat"))
    await page.get_by_role("button", name="Drain").click()
    await expect(page.get_by_text("paused, 1 still running")).to_be_visible()
    shop.pace.release()
    await end_of(job)
    await expect(page.get_by_text("paused, 1 still running")).to_have_count(0)
    await expect(page.get_by_text("paused", exact=True)).to_be_visible()
    await page.get_by_role("link", name="72 h").click()
    await expect(page.locator("canvas")).to_have_count(2)
