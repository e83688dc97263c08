"""Page of messages: endpoints, what was put aside and why, and what was sent to external workers."""

import re

from sidelane import Http, Sqs
from sidelane.client.put_aside import note_put_aside
from sidelane.model.job import JobSpec
from sidelane.model.worker import WorkerInfo
from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import get, text_of
from tests.dashboard.shop import Shop
from tests.web.clients import Server


async def test_endpoints_are_shown_with_their_use_and_trouble(server: Server, shop: Shop) -> None:
    lane = shop.lane  # what is declared now is known to the page, but to no worker
    lane.consumer(Sqs("requests", dead_letters="unreadable"), name="intake")(lambda message: None)
    lane.external_task(
        "render", input=str, result=str, send_to=Sqs("jobs"), replies_from=Sqs("results"), queue="report"
    )
    trouble = "this worker cannot receive the replies of SQS queue results: access denied"
    await lane.client.store.heartbeat(WorkerInfo(id="w:box:1:a", name="w", health=trouble), [], lease=60)
    text = text_of(await get(server, "messages"))
    assert "SQS queue requests messages that become jobs no trouble known intake unreadable" in text
    assert "SQS queue results replies of external workers trouble on workers: 1 render the policy of the queue" in text
    assert "SQS queue jobs jobs for external workers no trouble known render \N{EN DASH}" in text
    assert "Sidelane does not ask for it." in text


@BOTH_STORES
async def test_message_that_was_put_aside_is_shown_once_with_its_reason(server: Server, shop: Shop) -> None:
    for message in ("m1", "m2", "m1"):
        await note_put_aside(shop.lane.client.store, message, "SQS queue requests", "intake", "Question: no\ntext")
    text = text_of(await get(server, "messages"))
    row = r"\S+ \S+ {}Question: no\\ntext SQS queue requests intake "
    assert re.search(rf"m1 {row.format('2 times ')}m2 {row.format('')}", text)


@BOTH_STORES
async def test_dispatches_show_endpoint_state_and_job(server: Server, shop: Shop) -> None:
    dispatch = JobSpec(
        id="d.sent", task="sidelane.send", queue="parked", user=str(Http("https://gpu.example.com")), parent="j1"
    )
    await shop.lane.client.store.submit([dispatch])
    assert re.search(r"https://gpu.example.com/ queued 0 .* j1", text_of(await get(server, "messages")))


async def test_empty_page_says_what_appears_where(server: Server) -> None:
    text = text_of(await get(server, "messages"))
    assert "Declare one with lane.consumer(" in text
    assert "No message was put aside." in text
    assert "No job was sent to an external worker lately." in text
