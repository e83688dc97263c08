"""One job, task, worker or message in a browser: what operators do by click, beside what the tests of lists do."""

import re

import pytest
from playwright.async_api import expect

from sidelane.model.job import JobSpec
from sidelane.model.schedule import Schedule
from sidelane.model.worker import WorkerInfo
from tests.consumers.put_aside import Intake, message
from tests.dashboard.conftest import BOTH_STORES, Browser
from tests.dashboard.shop import Shop

pytestmark = pytest.mark.long


@pytest.fixture
def intake(shop: Shop) -> Intake:
    """Request it before the browser, so that the shop's worker knows the consumer."""
    return Intake(shop.lane)


@BOTH_STORES
async def test_running_job_is_unmasked_and_cancelled_by_click(browser: Browser, shop: Shop) -> None:
    job = await shop.tasks["answer"].submit("one two", phone="+82 10 1234 5678")
    page = await browser.open(f"jobs/{job.id}")
    await expect(page.get_by_text("+82 10 1234 5678")).to_have_count(0)
    await page.get_by_role("button", name="Show hidden fields").click()
    await expect(page.get_by_text("+82 10 1234 5678")).to_be_visible()
    await page.goto(f"{browser.url}/ops/jobs/{job.id}")
    await page.get_by_role("button", name="Cancel, keep text").click()
    await expect(page.get_by_role("status")).to_have_text(re.compile("cancel"))
    await expect(page.locator("h1")).to_have_text("answer cancelled", timeout=10_000)


@BOTH_STORES
async def test_job_is_submitted_from_its_schema_and_duplicated_by_click(browser: Browser, shop: Shop) -> None:
    page = await browser.open("tasks/echo")
    await page.get_by_role("link", name="New job").click()
    await page.get_by_label("Input, a JSON object").fill('{"text": "first"}')
    await page.get_by_role("button", name="Submit a job of echo").click()
    await expect(page.locator("h1")).to_have_text("echo succeeded", timeout=10_000)
    first = page.url
    await page.get_by_role("link", name="Duplicate…").click()
    await expect(page.get_by_label("Input, a JSON object")).to_have_value(re.compile('"first"'))
    await page.get_by_label("Input, a JSON object").fill('{"text": "second"}')
    await page.get_by_role("button", name="Submit the copy").click()
    await expect(page.locator("h1")).to_have_text("echo succeeded", timeout=10_000)
    assert page.url != first


@BOTH_STORES
async def test_task_and_schedule_are_held_and_released_by_click(browser: Browser, shop: Shop) -> None:
    page = await browser.open("tasks/echo")
    await page.get_by_role("button", name="Pause", exact=True).first.click()
    await expect(page.get_by_role("status")).to_have_text(re.compile("paused"))
    await page.get_by_role("button", name="Resume", exact=True).click()
    await expect(page.get_by_role("button", name="Pause", exact=True).first).to_be_visible()
    await shop.lane.client.store.upsert_schedule(
        Schedule(name="nightly", spec=JobSpec(id="", task="echo"), cron="0 2 * * *")
    )
    await page.goto(f"{browser.url}/ops/schedules/nightly")
    await page.get_by_role("button", name="Disable").click()
    await page.get_by_role("button", name="Enable").click()
    await expect(page.get_by_role("status")).to_have_text("nightly: enabled")


@BOTH_STORES
async def test_message_is_purged_by_click(intake: Intake, browser: Browser) -> None:
    await intake.put_aside(message("m1"))
    page = await browser.open("messages")
    await page.get_by_role("link", name="m1").click()
    await page.get_by_role("button", name="Purge", exact=True).click()
    await expect(page.get_by_role("status")).to_have_text(re.compile("purged"))
    await page.goto(f"{browser.url}/ops/messages")
    await expect(page.get_by_text("No message was put aside.")).to_be_visible()


@BOTH_STORES
async def test_dead_letters_are_purged_in_bulk_by_click(browser: Browser, shop: Shop) -> None:
    jobs = [await shop.tasks["fail"].submit("price") for _ in range(2)]
    for job in jobs:
        await shop.lane.client.wait(job.id, 10)
    page = await browser.open("dead")
    await page.get_by_role("link", name="KeyError: 'price'").click()
    await page.get_by_role("button", name="Purge…").click()
    await page.get_by_role("button", name="Purge 2 jobs").click()
    await page.goto(f"{browser.url}/ops/dead")
    await expect(page.get_by_text("KeyError: 'price'")).to_have_count(0)


@BOTH_STORES
async def test_worker_is_restarted_and_the_request_withdrawn_by_click(browser: Browser, shop: Shop) -> None:
    worker = WorkerInfo(id="chat-1:box:1:a", name="chat-1", host="box", restartable=True)
    await shop.lane.client.store.heartbeat(worker, [], lease=60)
    page = await browser.open(f"workers/{worker.id}")
    await page.get_by_text("Restart…", exact=True).click()
    await page.get_by_label("Reason").last.fill("new model")
    await page.get_by_role("button", name="Restart this worker").click()
    await expect(page.locator("h1")).to_contain_text("restart requested")
    await expect(page.get_by_text("“new model”")).to_be_visible()
    await page.get_by_role("button", name="Withdraw the request").click()
    await expect(page.locator("h1")).not_to_contain_text("restart requested")
