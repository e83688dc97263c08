"""Bulk actions in the dashboard: preview, confirmation, progress, stop."""

from pathlib import Path

import pytest
from axe_playwright_python.async_playwright import Axe
from fastapi import FastAPI
from playwright.async_api import expect

from sidelane import Sidelane
from sidelane.admin.bulk import recent_actions
from sidelane.model.ids import new_id
from sidelane.model.job import JobRecord, JobSpec, State
from sidelane.web.dashboard import dashboard
from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.pages import act, get, text_of, token_of
from tests.dashboard.shop import Shop, make_shop
from tests.web.clients import Server, run_server

PASSWORD = "correct horse battery"  # noqa: S105 - of a test


async def submit(shop: Shop, count: int, **fields: str) -> list[str]:
    """Submit jobs that no worker of the shop knows."""
    specs = [JobSpec(id=new_id(), task="unknown", queue="q", **fields) for _ in range(count)]  # type: ignore[arg-type]
    await shop.lane.client.store.submit(specs)
    return [spec.id for spec in specs]


async def states(shop: Shop, *ids: str) -> list[State]:
    return [each.state for each in await shop.lane.client.store.get(ids) if isinstance(each, JobRecord)]


@BOTH_STORES
async def test_selected_jobs_are_cancelled_after_a_preview(server: Server, shop: Shop) -> None:
    ids = await submit(shop, 3, user="ann")
    page = await get(server, "jobs")
    captured = await act(server, "bulk", page, action="cancel", job=ids[:2])
    preview = await get(server, captured.headers["location"].removeprefix("./"))
    assert "Cancel 2 jobs" in text_of(preview)
    assert set(await states(shop, *ids)) == {State.QUEUED}
    action = captured.headers["location"].removeprefix("./")
    done = await act(server, f"{action}/cancel", preview, reason="a mistake")
    assert done.status_code == 303
    shown = text_of(await get(server, action))
    assert "2 done, 0 left alone, 0 refused" in shown
    assert "a mistake" in shown
    assert await states(shop, *ids) == [State.CANCELLED, State.CANCELLED, State.QUEUED]


@BOTH_STORES
@pytest.mark.row("R11")
@pytest.mark.row("R27")
async def test_all_that_match_the_filter_are_captured_and_no_others(server: Server, shop: Shop) -> None:
    ann, bob = await submit(shop, 5, user="ann"), await submit(shop, 5, user="bob")
    page = await get(server, "jobs?user=ann")
    captured = await act(server, "bulk", page, action="cancel", scope="all", filter="?user=ann")
    action = captured.headers["location"].removeprefix("./")
    preview = await get(server, action)
    assert "user ann" in text_of(preview)
    late = await submit(shop, 1, user="ann ")
    await act(server, f"{action}/cancel", preview)
    assert set(await states(shop, *ann)) == {State.CANCELLED}
    assert set(await states(shop, *bob, *late)) == {State.QUEUED}


async def test_large_action_runs_as_a_job(server: Server, shop: Shop) -> None:
    ids = await submit(shop, 250, user="ann")
    page = await get(server, "jobs")
    captured = await act(server, "bulk", page, action="cancel", scope="all", filter="?user=ann")
    action = captured.headers["location"].removeprefix("./")
    preview = await get(server, action)
    assert "runs as a separate job" in text_of(preview)
    await act(server, f"{action}/cancel", preview, pace="500")
    await shop.lane.client.wait(f"bulk-{action.removeprefix('bulk/')}", timeout=20)
    assert "250 of 250, done" in text_of(await get(server, action))
    assert set(await states(shop, *ids)) == {State.CANCELLED}


async def test_confirmation_without_a_token_or_by_a_viewer_changes_nothing(server: Server, shop: Shop) -> None:
    ids = await submit(shop, 2, user="ann")
    page = await get(server, "jobs")
    captured = await act(server, "bulk", page, action="cancel", job=ids)
    action = captured.headers["location"].removeprefix("./")
    viewer = {"Cookie": "who=vic"}
    token = token_of(await get(server, action, headers=viewer))
    refused = [
        await server.client.post(f"/ops/{action}/cancel", data={"token": ""}),
        await server.client.post(f"/ops/{action}/cancel", data={"token": token}, headers=viewer),
        await server.client.post("/ops/bulk", data={"token": token, "action": "cancel", "job": ids[0]}, headers=viewer),
        await act(server, f"{action}/purge", page),
    ]
    assert [each.status_code for each in refused] == [403, 403, 403, 422]
    assert set(await states(shop, *ids)) == {State.QUEUED}
    assert len(await recent_actions(shop.lane.client.store)) == 1
    assert "Requeue…" not in text_of(await get(server, "jobs", headers=viewer))


async def test_session_that_ends_before_the_confirmation_loses_nothing(tmp_path: Path) -> None:
    def include(lane: Sidelane, app: FastAPI) -> None:
        app.include_router(dashboard(lane, password=PASSWORD), prefix="/ops")

    shop = make_shop(tmp_path, include=include)
    async with run_server(shop.app) as server:
        ids = await submit(shop, 2, user="ann")
        login = {"name": "ann", "password": PASSWORD}
        await server.client.post("/ops/sign-in", data=login)
        captured = await act(server, "bulk", await get(server, "jobs"), action="cancel", job=ids)
        action = captured.headers["location"].removeprefix("./")
        preview = await get(server, action)
        await server.client.post("/ops/sign-out")
        refused = await act(server, f"{action}/cancel", preview)
        assert refused.status_code == 403
        assert "Your session has ended" in text_of(refused)
        await server.client.post("/ops/sign-in", data=login)
        assert "not confirmed" in text_of(await get(server, "bulk"))
        await act(server, f"{action}/cancel", await get(server, action))
        assert set(await states(shop, *ids)) == {State.CANCELLED}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"action": "explode"}, "Choose what to do"),
        ({"action": "cancel", "scope": "all", "filter": "state=odd"}, "no state of a job"),
    ],
)
async def test_request_that_makes_no_sense_says_so(server: Server, fields: dict[str, str], message: str) -> None:
    answer = await act(server, "bulk", await get(server, "jobs"), **fields)
    assert answer.status_code == 422
    assert message in text_of(answer)


async def test_unknown_action_says_that_they_are_kept_for_a_day(server: Server) -> None:
    page = await get(server, "bulk/gone")
    assert page.status_code == 404
    assert "kept for a day" in text_of(page)


async def test_nothing_selected_returns_to_the_list(server: Server, shop: Shop) -> None:
    await submit(shop, 1)
    await act(server, "bulk", await get(server, "jobs"), action="cancel")
    assert "Select jobs first" in text_of(await get(server, "jobs"))


@pytest.mark.long
@BOTH_STORES
async def test_operator_cancels_a_flood_watches_it_and_stops_it(browser: Browser, shop: Shop) -> None:
    await submit(shop, 400, user="<b>flood</b> 한국어")
    page = await browser.open("jobs?queue=q")
    await page.get_by_label("Which jobs").select_option("all")
    await page.get_by_role("button", name="Cancel…").click()
    await expect(page.get_by_role("heading", name="Cancel 400 jobs")).to_be_visible()
    await page.get_by_label("Reason").fill("a flood")
    await page.get_by_label("Pace").select_option("5")
    await page.get_by_role("button", name="Cancel 400 jobs").click()
    await expect(page.get_by_text(" of 400, running")).to_be_visible()
    await expect(page.get_by_text("15 of 400, running")).to_be_visible(timeout=15_000)
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_text("stopped by ann")).to_be_visible()
    await page.goto(page.url.replace(page.url.partition("/ops/")[2], "audit"))
    await expect(page.get_by_text("a flood")).to_be_visible()


@pytest.mark.long
@pytest.mark.parametrize("language", ["en", "ko"])
@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_pages_have_no_serious_problem_of_accessibility(
    browser: Browser, shop: Shop, theme: str, language: str
) -> None:
    ids = await submit(shop, 3, user="n" * 200)
    url = f"{browser.url}/ops/"
    server_page = await browser.open("jobs")
    for box in ids[:2]:
        await server_page.get_by_label(f"Select job {box}").check()
    await server_page.get_by_role("button", name="Cancel…").click()
    preview = server_page.url
    chromium = browser.context.browser
    assert chromium is not None
    context = await chromium.new_context(bypass_csp=True, viewport={"width": 390, "height": 844})
    await context.add_cookies(
        [
            {"name": f"sidelane_{name}", "value": value, "url": url}
            for name, value in (("theme", theme), ("language", language))
        ]
    )
    for address in (preview, f"{url}bulk", f"{url}audit", f"{url}jobs"):
        page = await context.new_page()
        await page.goto(address)
        found = await Axe().run(page)
        serious = [each for each in found.response["violations"] if each["impact"] in ("serious", "critical")]
        assert serious == [], address
        assert await page.evaluate("document.documentElement.scrollWidth") <= 390, address
    await context.close()
