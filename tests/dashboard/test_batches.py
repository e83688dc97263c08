"""Pages of batches: how far each is, which of its jobs failed; cancel the rest of one."""

import re

from sidelane.model.job import State
from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import act, get, text_of
from tests.dashboard.shop import Shop
from tests.web.clients import Server


@BOTH_STORES
async def test_list_and_page_show_counts_failed_jobs_and_what_follows(server: Server, shop: Shop) -> None:
    calls = [shop.tasks["echo"].call("a"), shop.tasks["echo"].call("b"), shop.tasks["fail"].call("stock_code")]
    batch = await shop.lane.submit_many(calls, then=shop.tasks["echo"].call("all"), user="ann")
    await batch.wait(10)
    assert re.search(rf"{batch.id} failed 3/3 1 ann", text_of(await get(server, "batches")))
    text = text_of(await get(server, f"batches/{batch.id}"))
    assert "ended 3 of 3 succeeded 2 failed 1 cancelled 0" in text
    assert "After it Task If it ends as Queue echo however it ends" in text
    assert re.search(r"Failed jobs the newest 1 .* fail \S+ failed KeyError: 'stock_code'", text)


@BOTH_STORES
async def test_unfinished_jobs_of_a_batch_are_cancelled(server: Server, shop: Shop) -> None:
    batch = await shop.lane.submit_many([shop.tasks["report"].options(user="ann").call() for _ in range(3)])
    page = await get(server, f"batches/{batch.id}")
    assert "Cancel 3 of its jobs" in text_of(page)
    await act(server, f"batches/{batch.id}/cancel", page)
    record = await batch.wait(10)
    assert (record.state, record.cancelled) == (State.FAILED, 3)
    assert "cancelled 3" in text_of(await get(server, f"batches/{batch.id}"))


async def test_batch_is_found_by_its_id(server: Server, shop: Shop) -> None:
    batch = await shop.lane.submit_many([shop.tasks["echo"].call("a")])
    found = await get(server, f"batches?id={batch.id}")
    assert found.status_code == 303
    assert found.headers["location"] == f"./batches/{batch.id}"
    assert "There is no batch with this id" in text_of(await get(server, "batches?id=gone"))
    assert (await get(server, "batches/gone")).status_code == 404


async def test_empty_list_says_how_batches_are_made(server: Server) -> None:
    assert "lane.submit_many(" in text_of(await get(server, "batches"))


@BOTH_STORES
async def test_batch_is_paused_and_resumed(server: Server, shop: Shop) -> None:
    batch = await shop.lane.submit_many([shop.tasks["report"].options(user="ann").call() for _ in range(3)])
    page = await get(server, f"batches/{batch.id}")
    await act(server, f"batches/{batch.id}/pause", page, reason="bad prompts", **{"for": "2h"})
    page = await get(server, f"batches/{batch.id}")
    assert re.search(r"Batch running paused .* Resume Cancel", text_of(page))
    assert re.search(r"Paused by ann, .* “bad prompts”", text_of(page))
    assert re.search(rf"{batch.id} running paused 0/3", text_of(await get(server, "batches")))
    await act(server, f"batches/{batch.id}/resume", page)
    assert "paused" not in text_of(await get(server, f"batches/{batch.id}"))
    shop.pace.release()
    lines = text_of(await get(server, "audit"))
    assert "batch.pause" in lines
    assert "batch.resume" in lines
    refused = await server.client.post(f"/ops/batches/{batch.id}/pause", data={"token": "x"})
    assert refused.status_code == 403
