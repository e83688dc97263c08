"""Pages of dead letters: grouped by cause and release; one of them is requeued."""

import re

import pytest

from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import act, get, text_of
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
