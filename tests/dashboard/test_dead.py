"""Pages of dead letters: grouped by cause and release; one of them is requeued."""

import re

import pytest
from playwright.async_api import expect

from sidelane.admin.bulk import recent_actions
from sidelane.admin.failure_causes import cause_key
from sidelane.model.job import JobRecord, State
from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.pages import act, get, text_of, token_of
from tests.dashboard.shop import Shop
from tests.web.clients import Server


async def fail(shop: Shop, *messages: str) -> list[str]:
    """Let jobs fail, and return their ids."""
    jobs = [await shop.tasks["fail"].options(user="ann").submit(message) for message in messages]
    for job in jobs:
        await shop.lane.client.wait(job.id, 10)
    return [job.id for job in jobs]


async def path_of_cause(server: Server) -> str:
    found = re.search(r'href="\./(dead/[0-9a-f]+)"', (await get(server, "dead")).text)
    assert found
    return found[1]


@BOTH_STORES
async def test_jobs_of_one_cause_are_one_row_whatever_the_numbers_in_their_errors(server: Server, shop: Shop) -> None:
    await fail(shop, "price 1", "price 2", "stock_code")
    text = text_of(await get(server, "dead"))
    assert re.search(r"KeyError: 'price \d' fail 2 8ac11e0 .* KeyError: 'stock_code' fail 1 8ac11e0", text)


@BOTH_STORES
async def test_page_of_a_cause_lists_its_jobs_with_the_traceback_and_requeues_one(server: Server, shop: Shop) -> None:
    first, second = await fail(shop, "price 1", "price 2")
    path = await path_of_cause(server)
    page = await get(server, path)
    text = text_of(page)
    assert "jobs: 2 · task fail · release 8ac11e0" in text
    assert f"{second} ann 1" in text
    assert "Traceback (most recent call last)" in text
    answer = await act(server, f"jobs/{first}/requeue", page)
    assert answer.headers["location"].endswith(path)
    assert f"{first}: requeued" in text_of(await get(server, path))


async def test_cause_without_jobs_says_so(server: Server) -> None:
    page = await get(server, "dead/12345678")
    assert page.status_code == 200
    assert "No job of this cause is left" in text_of(page)


@pytest.mark.parametrize(("language", "text"), [("en", "There is no dead letter."), ("ko", "데드 레터가 없습니다.")])
async def test_empty_list_says_what_appears_here(server: Server, language: str, text: str) -> None:
    assert text in text_of(await get(server, "dead", headers={"Accept-Language": language}))


async def states(shop: Shop, ids: list[str]) -> set[State]:
    return {each.state for each in await shop.lane.client.store.get(ids) if isinstance(each, JobRecord)}


async def captured(server: Server, path: str, **fields: str | list[str]) -> tuple[str, str]:
    """Capture dead letters from a page, and return the path of the action and the text of its page."""
    answer = await act(server, "dead", await get(server, path), action="purge", **fields)
    action = answer.headers["location"].removeprefix("./").removeprefix("../")
    return action, text_of(await get(server, action))


async def cause_of(shop: Shop, job_id: str) -> str:
    (record,) = await shop.lane.client.store.get([job_id])
    assert isinstance(record, JobRecord)
    return cause_key(record)


@BOTH_STORES
async def test_all_of_one_cause_are_purged_and_jobs_of_no_other_cause_or_task(server: Server, shop: Shop) -> None:
    prices, others = await fail(shop, "price 1", "price 2", "price 3"), await fail(shop, "stock_code")
    refused = await shop.lane.submit(shop.tasks["refuse"].call())
    await shop.lane.client.wait(refused.id, 10)
    cause = await cause_of(shop, prices[0])
    action, preview = await captured(server, f"dead/{cause}", of=cause, scope="all")
    assert "Purge 3 jobs" in preview
    assert "task fail · release 8ac11e0" in preview
    late = await fail(shop, "price 4")
    await act(server, f"{action}/purge", await get(server, action))
    assert await states(shop, prices) == set()
    assert await states(shop, [*others, *late, refused.id]) == {State.FAILED}


@BOTH_STORES
async def test_selected_causes_and_selected_jobs_are_captured(server: Server, shop: Shop) -> None:
    prices, others = await fail(shop, "price 1", "price 2"), await fail(shop, "stock_code")
    causes = [await cause_of(shop, prices[0]), await cause_of(shop, others[0])]
    _, both = await captured(server, "dead", cause=causes)
    assert "Purge 3 jobs" in both
    _, one = await captured(server, f"dead/{causes[0]}", of=causes[0], job=prices[:1])
    assert "Purge 1 job" in one
    _, whole_cause = await captured(server, f"dead/{causes[0]}", of=causes[0])
    assert "Purge 2 jobs" in whole_cause
    _, everything = await captured(server, "dead", scope="all")
    assert "Purge 3 jobs" in everything


async def test_nothing_selected_and_an_unknown_cause_capture_nothing(server: Server, shop: Shop) -> None:
    await fail(shop, "price 1")
    await act(server, "dead", await get(server, "dead"), action="requeue")
    assert "Select jobs first" in text_of(await get(server, "dead"))
    await act(server, "dead", await get(server, "dead"), action="requeue", cause="0" * 16)
    assert "No job of this cause is left" in text_of(await get(server, "dead"))
    assert await recent_actions(shop.lane.client.store) == []


async def test_viewer_has_no_bulk_action(server: Server, shop: Shop) -> None:
    await fail(shop, "price 1")
    viewer = {"Cookie": "who=vic"}
    page = await get(server, "dead", headers=viewer)
    assert "Purge…" not in text_of(page)
    fields = {"token": token_of(page), "action": "purge", "scope": "all"}
    answer = await server.client.post("/ops/dead", data=fields, headers=viewer)
    assert answer.status_code == 403


@pytest.mark.long
@BOTH_STORES
async def test_operator_requeues_a_whole_cause(browser: Browser, shop: Shop) -> None:
    await fail(shop, "price 1", "price 2")
    page = await browser.open("dead")
    await page.get_by_role("link", name="KeyError").click()
    await page.get_by_label("Which jobs").select_option("all")
    await page.locator("#selection").get_by_role("button", name="Requeue…").click()
    await expect(page.get_by_role("heading", name="Requeue 2 jobs")).to_be_visible()
    await page.get_by_role("button", name="Requeue 2 jobs").click()
    await expect(page.get_by_text("2 done, 0 left alone, 0 refused")).to_be_visible()
