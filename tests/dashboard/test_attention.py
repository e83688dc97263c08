"""The front page: figures, findings with what to do, queues against their targets, and the last day."""

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from sidelane import Job
from sidelane.admin.findings.evaluation import findings as read_findings
from sidelane.admin.findings.finding import Finding
from sidelane.admin.findings.mutes import mute
from sidelane.model.job import JobSpec
from sidelane.model.worker import ClaimRequest
from tests.dashboard.conftest import BOTH_STORES, MAX_WEIGHT, Browser, weight
from tests.dashboard.pages import act, get, text_of
from tests.dashboard.shop import Shop, make_shop
from tests.dashboard.waiting import end_of, until
from tests.web.clients import Server, run_server

HOSTILE = '"><script>alert(1)</script>/\N{HANGUL SYLLABLE HAN}\N{RIGHT-TO-LEFT OVERRIDE}' + "q" * 150

LATER = 15_000.0
"""Milliseconds within which an open page shows a new finding. Findings are read every five seconds."""


async def run_failing_job(shop: Shop, message: str = "stock_code") -> str:
    job = await shop.lane.submit(shop.tasks["fail"].call(message))
    await end_of(job)
    return job.id


async def findings(shop: Shop) -> list[Finding]:
    return await read_findings(shop.lane.client.store)


async def dead_letter(shop: Shop) -> Finding:
    return next(each for each in await findings(shop) if each.key.startswith("dead-letters:"))


async def test_page_says_that_nothing_needs_a_person_before_the_first_job(server: Server, shop: Shop) -> None:
    for each in await findings(shop):  # of a busy machine
        await mute(shop.lane.client.store, each.key, 60.0)
    page = text_of(await get(server, ""))
    assert "Nothing needs you." in page
    assert "to the first event; no task sent one in 24 h" in page


@BOTH_STORES
@pytest.mark.row("R27")
async def test_finding_shows_its_evidence_and_one_link_that_names_the_number(server: Server, shop: Shop) -> None:
    job_id = await run_failing_job(shop)
    page = await get(server, "")
    assert "1 dead letter: KeyError: 'stock_code' in fail v1" in text_of(page)
    assert f"The last was job {job_id}" in text_of(page)
    assert re.search(r'<a class="btn" href="\./dead/[0-9a-f]{16}"[^>]*>Review and requeue 1</a>', page.text)


async def test_finding_is_said_in_korean(server: Server, shop: Shop) -> None:
    job_id = await run_failing_job(shop)
    page = text_of(await get(server, "", headers={"Accept-Language": "ko"}))
    assert "데드 레터 1건: KeyError: 'stock_code', 태스크 fail v1, 릴리스 8ac11e0" in page
    assert f"전, 작업 {job_id}입니다." in page
    assert "1건 확인 후 다시 실행" in page


@pytest.mark.long
async def test_finding_without_a_page_shows_the_command(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, workers=0)
    async with run_server(shop.app) as server:
        await shop.lane.submit(shop.tasks["echo"].call("a"))
        await asyncio.sleep(3.1)  # a job has to wait for as long before a missing worker is a finding
        page = await get(server, "")
        assert "1 job waits in queue chat, which no live worker serves" in text_of(page)
        assert '<code class="command" dir="ltr">sidelane worker --queues chat</code>' in page.text


async def test_muted_finding_is_folded_and_can_be_unmuted(server: Server, shop: Shop) -> None:
    await run_failing_job(shop)
    page = await get(server, "")
    found = await dead_letter(shop)
    await act(server, "findings/mute", page, key=found.key)
    page = await get(server, "")
    assert f"{found.key}: muted for 1 h" in text_of(page)
    assert "Muted findings: 1" in text_of(page)
    assert "Review and requeue" not in text_of(page)
    await act(server, "findings/unmute", page, key=found.key)
    assert "Muted findings" not in text_of(await get(server, ""))


async def test_viewer_cannot_mute(server: Server, shop: Shop) -> None:
    await run_failing_job(shop)
    viewer = {"Cookie": "who=vic"}
    page = await get(server, "", headers=viewer)
    assert "Mute" not in text_of(page)
    found = await dead_letter(shop)
    answer = await server.client.post(
        "/ops/findings/mute", data={"token": "0.x", "key": found.key}, headers={**viewer, "Referer": str(page.url)}
    )
    assert answer.status_code == 403
    assert (await dead_letter(shop)).muted_until is None


async def test_unknown_finding_is_not_muted(server: Server) -> None:
    await act(server, "findings/mute", await get(server, ""), key="no such")
    assert "no such: no such finding" in text_of(await get(server, ""))


@pytest.mark.long
@BOTH_STORES
async def test_operator_cancels_a_job_that_costs_workers_from_its_finding(tmp_path: Path, store: str) -> None:
    shop = make_shop(tmp_path, store=store, workers=0)
    async with run_server(shop.app) as server:
        job = await shop.lane.submit(shop.tasks["echo"].call("a"))
        for losses in range(3):
            await until(lambda wanted=losses: loses(job, wanted))  # type: ignore[misc]
            lease = 0.05 if losses < 2 else 30.0
            request = ClaimRequest(request=f"r{losses}", worker="w", ids=(job.id,), lease=lease)
            assert (await shop.lane.client.store.claim(request)).jobs
        page = await get(server, "")
        assert f'action="./jobs/{job.id}/cancel"' in page.text
        assert "Cancel job" not in text_of(await get(server, "", headers={"Cookie": "who=vic"}))
        await act(server, f"jobs/{job.id}/cancel", page)
        assert (await job.record()).cancel_requested


async def loses(job: Job[Any], losses: int) -> bool:
    return (await job.record()).worker_losses == losses


@BOTH_STORES
async def test_release_that_began_in_the_last_day_is_marked(server: Server, shop: Shop) -> None:
    await end_of(await shop.lane.submit(shop.tasks["echo"].call("a")))
    page = await get(server, "")
    assert "Releases, dashed: 8ac11e0" in text_of(page)
    assert re.search(r"data-chart=.*&#34;marks&#34;:\s?\[\[\d+", page.text)


@pytest.mark.long
@BOTH_STORES
async def test_finding_appears_and_goes_on_the_open_page(browser: Browser, shop: Shop) -> None:
    page = await browser.open()
    job_id = await run_failing_job(shop)
    finding = page.get_by_role("heading", name="KeyError")
    await expect(finding).to_be_visible(timeout=LATER)
    await page.get_by_role("listitem").filter(has=finding).get_by_role("button", name="Mute for 1 h").click()
    await page.get_by_text("Muted findings: 1").click()
    await expect(page.get_by_role("button", name="Unmute")).to_be_visible()
    await run_failing_job(shop, "other")
    await expect(page.get_by_role("heading", name="other")).to_be_visible(timeout=LATER)
    await expect(page.get_by_role("button", name="Unmute")).to_be_visible()  # what was unfolded stays so
    await page.get_by_role("button", name="Unmute").click()
    await expect(finding.first).to_be_visible()
    await shop.lane.client.store.remove([job_id])
    await expect(page.get_by_role("heading", name="stock_code")).to_have_count(0, timeout=LATER)


@pytest.mark.long
async def test_chart_is_drawn_updated_in_place_and_read_by_keys(browser: Browser, shop: Shop) -> None:
    await end_of(await shop.lane.submit(shop.tasks["echo"].call("a")))
    page = await browser.open()
    chart = page.locator("figure.chart")
    await expect(chart.locator("canvas")).to_be_visible()
    await chart.locator("canvas").evaluate("canvas => canvas.dataset.same = ''")
    await chart.locator(".plot").focus()
    await page.keyboard.press("End")
    await expect(chart.locator("p[aria-live]")).to_contain_text("Ended")
    before = await chart.get_attribute("data-chart")
    await asyncio.sleep(10)  # as long as history is shared
    await end_of(await shop.lane.submit(shop.tasks["echo"].call("b")))
    await expect(chart).not_to_have_attribute("data-chart", before or "", timeout=LATER)
    await expect(chart.locator("canvas[data-same]")).to_be_visible()


@pytest.mark.long
async def test_page_with_many_queues_is_light(browser: Browser, shop: Shop) -> None:
    for number in range(20):
        await shop.lane.client.store.submit([JobSpec(id=f"{number:032x}", task="echo", queue=f"queue-{number}")])
    await run_failing_job(shop)
    page = await browser.open()
    await expect(page.locator("canvas")).to_be_visible()
    assert await weight(page) <= MAX_WEIGHT


@pytest.mark.long
async def test_hostile_name_of_a_queue_neither_runs_nor_widens_the_page(browser: Browser, shop: Shop) -> None:
    await shop.lane.client.store.submit([JobSpec(id="0" * 32, task="echo", queue=HOSTILE)])
    page = await browser.open()
    page.on("dialog", lambda dialog: browser.errors.append(dialog.message))
    link = page.get_by_role("link", name=HOSTILE[:20])
    for width in (1280, 390):
        await page.set_viewport_size({"width": width, "height": 800})
        for path in ("", "queues"):
            await page.goto(f"{browser.url}/ops/{path}")
            await expect(link).to_be_visible()
            assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    await link.click()
    await expect(page.get_by_role("heading", level=1)).to_contain_text(HOSTILE[:20])
    assert await page.evaluate("document.documentElement.scrollWidth - innerWidth") <= 0
    await page.get_by_role("button", name="Pause").click()
    await expect(page.get_by_text("paused").first).to_be_visible()
