"""Chromium's EventSource: every event once, to the end, although the service or its store is away meanwhile."""

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Page, async_playwright

from tests.browser.nginx import Nginx
from tests.contract.servers import KINDS, RunningServer, free_port
from tests.system import shop
from tests.system.process_scenario import ProcessScenario
from tests.system.waiting import until

WORDS = 30
PACE = 0.15
AWAY = 10.0
"""Seconds without a store. The worker keeps its events meanwhile."""

LISTEN = """
path => {
  window.seen = [];
  window.source = new EventSource(path);
  source.addEventListener("token", event => seen.push([event.lastEventId, JSON.parse(event.data).text]));
  source.addEventListener("end", event => { window.end = JSON.parse(event.data).state; source.close(); });
}
"""


@pytest.fixture
async def page() -> AsyncIterator[Page]:
    program = shutil.which("chromium")
    if program is None:
        pytest.skip("Debian's chromium is not installed")
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        yield await browser.new_page()
        await browser.close()


@pytest.fixture
def lease() -> float:
    """Longer than the store is away, so that the job stays with its worker."""
    return 30.0


async def listen(page: Page, scenario: ProcessScenario, base: str) -> str:
    """Submit a story, open its events in the browser, and return the job's id once tokens come."""
    (job,) = await scenario.submit(shop.tell.call(WORDS, PACE))
    await page.goto(f"{base}/health")
    await page.evaluate(LISTEN, f"/jobs/{job}/events")
    await page.wait_for_function("seen.length > 3")
    return job


async def assert_every_event_came_once(page: Page) -> None:
    await page.wait_for_function("window.end || source.readyState == EventSource.CLOSED", timeout=40_000)
    assert await page.evaluate("window.end") == "succeeded"
    seen = await page.evaluate("seen")
    assert [text for _, text in seen] == [f"{word} " for word in range(WORDS)]
    assert len({id_ for id_, _ in seen}) == WORDS


@pytest.mark.parametrize("proxied", [True, False], ids=["behind nginx", "direct"])
async def test_event_source_continues_when_the_service_was_restarted(
    scenario: ProcessScenario, page: Page, proxied: bool
) -> None:
    await scenario.worker("w1")
    port = free_port()
    api, _ = await scenario.api(port=port)
    nginx = Nginx(scenario.processes.folder / "nginx", port) if proxied else None
    try:
        await listen(page, scenario, f"http://127.0.0.1:{nginx.port if nginx else port}")
        api.signal(signal.SIGTERM)
        await until(lambda: api.exited, "the service stops")
        if proxied:  # without a proxy a refused connection is an error that browsers retry by themselves
            await asyncio.sleep(4)  # longer than a client waits before it reconnects
        await scenario.api(port=port)
        await assert_every_event_came_once(page)
    finally:
        if nginx:
            nginx.stop()


@pytest.mark.parametrize("kind", [KINDS[0]], indirect=True)
async def test_event_source_continues_when_redis_was_away(
    scenario: ProcessScenario, page: Page, server: RunningServer
) -> None:
    await scenario.worker("w1")
    port = free_port()
    await scenario.api(port=port)
    nginx = Nginx(scenario.processes.folder / "nginx", port)
    try:
        await listen(page, scenario, f"http://127.0.0.1:{nginx.port}")
        server.stop(signal.SIGKILL)
        await page.evaluate("source.close()")  # and another that begins while Redis is away
        first = await page.evaluate("seen")
        await page.evaluate(LISTEN, await page.evaluate("source.url"))
        await asyncio.sleep(AWAY)
        assert await page.evaluate("source.readyState") != 2
        assert await page.evaluate("seen") == []
        assert len(first) < WORDS
        server.start()
        await assert_every_event_came_once(page)
    finally:
        nginx.stop()


@pytest.mark.parametrize("kind", [KINDS[0]], indirect=True)
async def test_open_event_source_is_kept_while_redis_is_away(
    scenario: ProcessScenario, page: Page, server: RunningServer
) -> None:
    await scenario.worker("w1")
    api, client = await scenario.api()
    await listen(page, scenario, str(client.base_url).rstrip("/"))
    server.stop(signal.SIGKILL)
    await asyncio.sleep(AWAY)
    assert await page.evaluate("source.readyState") == 1
    server.start()
    await assert_every_event_came_once(page)
    assert "Traceback" not in api.log.read_text()
