"""Pages of callbacks: which reach their receivers and which do not; one is delivered again."""

import re
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from sidelane import Webhook
from sidelane.model.job import JobSpec, Query
from sidelane.tasks.internal_queues import CALLBACK_TASK
from tests.callbacks.local_receivers import Receiver, receiving, status
from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.pages import act, get, text_of
from tests.dashboard.shop import Shop
from tests.dashboard.waiting import until
from tests.web.clients import Server


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as listening:
        yield listening


async def tried(shop: Shop, job_id: str) -> str:
    """Wait until the callback of a job has been tried, and return its id."""
    store = shop.lane.client.store

    async def done() -> bool:
        found = await store.list_jobs(Query(parent=job_id, task=CALLBACK_TASK))
        return any(each.attempt and each.worker is None for each in found)

    await until(done)
    (callback,) = await store.list_jobs(Query(parent=job_id, task=CALLBACK_TASK))
    return callback.id


@BOTH_STORES
async def test_list_shows_receiver_state_tries_answer_and_job(server: Server, shop: Shop, receiver: Receiver) -> None:
    job = await shop.tasks["echo"].options(callback=Webhook(receiver.url)).submit("a")
    await tried(shop, job.id)
    assert f"{receiver.url} succeeded 1 \N{EN DASH} 200 {job.id} Redeliver" in text_of(await get(server, "callbacks"))


@BOTH_STORES
async def test_receiver_that_refuses_is_named_with_its_error_and_the_next_try(
    server: Server, shop: Shop, receiver: Receiver
) -> None:
    receiver.usual = status(503, "busy")
    job = await shop.tasks["echo"].options(callback=Webhook(receiver.url)).submit("a")
    await tried(shop, job.id)
    text = text_of(await get(server, "callbacks"))
    assert "wait for their next try 1" in text
    assert re.search(rf"Receivers that callbacks do not reach .* 127.0.0.1:{receiver.port} 0 1 .* answered 503", text)
    assert re.search(rf"{receiver.url} retrying 1 \d{{4}}-", text)


async def test_callback_is_delivered_again(server: Server, shop: Shop, receiver: Receiver) -> None:
    job = await shop.tasks["echo"].options(callback=Webhook(receiver.url)).submit("a")
    callback = await tried(shop, job.id)
    await act(server, f"callbacks/{callback}/redeliver", await get(server, "callbacks"))
    await receiver.until(2)
    assert f"{callback}: 1 queued for delivery" in text_of(await get(server, "callbacks"))


async def test_callback_is_delivered_again_from_the_page_of_its_job(
    server: Server, shop: Shop, receiver: Receiver
) -> None:
    job = await shop.tasks["echo"].options(callback=Webhook(receiver.url)).submit("a")
    callback = await tried(shop, job.id)
    page = await get(server, f"jobs/{job.id}")
    assert f"{receiver.url} end succeeded 1 \N{EN DASH} 200 Redeliver" in text_of(page)
    answer = await act(server, f"callbacks/{callback}/redeliver", page)
    assert answer.headers["location"] == f"/ops/jobs/{job.id}"
    await receiver.until(2)
    assert "Redeliver" not in text_of(await get(server, f"jobs/{job.id}", headers={"Cookie": "who=vic"}))


@pytest.mark.long
@BOTH_STORES
async def test_button_beside_a_callback_of_a_job_delivers_it_again(
    browser: Browser, shop: Shop, receiver: Receiver
) -> None:
    receiver.usual = status(503, "busy")
    job = await shop.tasks["echo"].options(callback=Webhook(receiver.url)).submit("a")
    await tried(shop, job.id)
    page = await browser.open(f"jobs/{job.id}")
    await expect(page.get_by_role("cell", name="answered 503")).to_be_visible()
    receiver.usual = status(204, "")
    await page.get_by_role("button", name="Redeliver").click()
    await expect(page.get_by_role("status")).to_contain_text("queued for delivery")
    await expect(page.get_by_role("row", name=receiver.url)).to_contain_text("succeeded", timeout=10_000)


async def test_callbacks_of_one_receiver_are_listed_in_pages(server: Server, shop: Shop) -> None:
    target = '{"to":{"kind":"webhook","url":"https://be.example.com/%d"},"on":"end","progress":false}'
    specs = [
        JobSpec(id=f"c{n}", task=CALLBACK_TASK, queue="parked", user="be.example.com", arguments=target % n, parent="j")
        for n in range(60)
    ]
    await shop.lane.client.store.submit(specs)
    page = await get(server, "callbacks?receiver=be.example.com")
    assert "https://be.example.com/59" in text_of(page)
    older = re.search(r'href="\./callbacks(\?[^"]+)" rel="next"', page.text)
    assert older
    rest = text_of(await get(server, "callbacks" + older[1].replace("&amp;", "&")))
    assert "https://be.example.com/9 " in rest
    assert "https://be.example.com/10 " not in rest
    assert "No callback to this receiver" in text_of(await get(server, "callbacks?receiver=other"))


async def test_list_without_a_callback_among_the_newest_jobs_leads_to_older_ones(server: Server, shop: Shop) -> None:
    await shop.lane.client.store.submit([JobSpec(id=f"j{n}", task="unknown", queue="parked") for n in range(2001)])
    page = await get(server, "callbacks")
    assert "None of the newest 2,000 jobs here is a callback. Search older jobs" in text_of(page)


async def test_empty_list_says_how_to_add_a_callback(server: Server) -> None:
    assert "Add callback=Webhook(url)" in text_of(await get(server, "callbacks"))
