"""Page of messages: endpoints, what was put aside and why, and what was sent to external workers."""

import json
import re
from collections.abc import AsyncIterator

import pytest

from sidelane import Http, Message, Sqs
from sidelane.admin.audit import read_audit
from sidelane.admin.dead_letters import DeadLetterFilter, newest_dead_letters
from sidelane.admin.put_aside import newest_put_aside
from sidelane.client.put_aside import note_put_aside
from sidelane.model.job import JobSpec
from sidelane.model.worker import WorkerInfo
from tests.consumers.put_aside import Intake
from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import act, get, text_of, token_of
from tests.dashboard.shop import Shop
from tests.web.clients import Server, run_server


async def test_endpoints_are_shown_with_their_use_and_trouble(server: Server, shop: Shop) -> None:
    lane = shop.lane  # what is declared now is known to the page, but to no worker
    lane.consumer(Sqs("orders", dead_letters="unreadable"), name="orders")(lambda message: None)
    lane.external_task(
        "render", input=str, result=str, send_to=Sqs("jobs"), replies_from=Sqs("results"), queue="report"
    )
    trouble = "this worker cannot receive the replies of SQS queue results: access denied"
    await lane.client.store.heartbeat(WorkerInfo(id="w:box:1:a", name="w", health=trouble), [], lease=60)
    text = text_of(await get(server, "messages"))
    assert "SQS queue orders messages that become jobs no trouble known orders unreadable" in text
    assert "SQS queue results replies of external workers trouble on workers: 1 render the policy of the queue" in text
    assert "SQS queue jobs jobs for external workers no trouble known render \N{EN DASH}" in text
    assert "Sidelane does not ask for it." in text


@BOTH_STORES
async def test_message_without_a_copy_is_shown_once_with_its_reason(server: Server, shop: Shop) -> None:
    for message in ("m1", "m2", "m1"):
        await note_put_aside(shop.lane.client.store, message, "SQS queue requests", "intake", "Question: no\ntext")
    text = text_of(await get(server, "messages"))
    row = r"\S+ \S+ {}no copy Question: no\\ntext SQS queue requests intake "
    assert re.search(rf"m1 {row.format('2 times ')}m2 {row.format('')}", text)


async def put_aside(intake: Intake, message: Message) -> str:
    """Put a message aside, and return the id of its copy when a worker has marked it."""
    await intake.put_aside(message)
    client = intake.lane.client
    (newest,) = await newest_put_aside(client.store, 1)
    assert newest.copy is not None
    await client.wait(newest.copy.id, 10)
    return newest.copy.id


@pytest.fixture
def intake(shop: Shop) -> Intake:
    """Declared before the shop opens, so that its worker knows the consumer."""
    return Intake(shop.lane, "intake")


@pytest.fixture
async def server(intake: Intake, shop: Shop) -> AsyncIterator[Server]:
    async with run_server(shop.app) as running:
        yield running


@BOTH_STORES
async def test_message_is_opened_requeued_and_leaves_the_list(server: Server, shop: Shop, intake: Intake) -> None:
    copy_id = await put_aside(
        intake, Message(id="m1", body='{"content": "hello <i>there</i>"}', attributes={"kind": "greeting"})
    )
    assert f'href="./messages/{copy_id}"' in (await get(server, "messages")).text
    page = await get(server, f"messages/{copy_id}")
    assert "Why ValueError: <b>not</b> today Consumer intake" in text_of(page)
    assert 'Body {"content": "hello <i>there</i>"} Attributes Name Value kind greeting' in text_of(page)
    assert "<i>" not in page.text
    intake.open = True
    await act(server, f"messages/{copy_id}/requeue", page, reason="deployed")
    record = await shop.lane.client.wait(copy_id, 10)
    shown = await get(server, f"messages/{copy_id}")
    assert "Its consumer has accepted it. The job that it became" in text_of(shown)
    assert f"jobs/{json.loads(record.result or '')}" in shown.text
    assert "No message was put aside." in text_of(await get(server, "messages"))
    (line,) = (await read_audit(shop.lane.client.store)).lines
    assert (line.action, line.target, line.reason, line.failed) == ("message.requeue", copy_id, "deployed", False)


@BOTH_STORES
async def test_copy_is_purged(server: Server, shop: Shop, intake: Intake) -> None:
    copy_id = await put_aside(intake, Message(id="m1", body="hello"))
    page = await get(server, f"messages/{copy_id}")
    answer = await act(server, f"messages/{copy_id}/purge", page)
    assert answer.headers["location"].endswith("messages")
    assert "No message was put aside." in text_of(await get(server, "messages"))
    gone = await get(server, f"messages/{copy_id}")
    assert gone.status_code == 404
    assert "no copy of such a message is kept" in text_of(gone)
    answer = await act(server, f"messages/{copy_id}/requeue", page)
    (failed, _) = (await read_audit(shop.lane.client.store)).lines
    assert (failed.action, failed.failed) == ("message.requeue", True)


async def test_selected_messages_are_requeued_in_one_action(server: Server, shop: Shop, intake: Intake) -> None:
    ids = [await put_aside(intake, Message(id=f"m{number}", body="hello")) for number in range(3)]
    answer = await act(server, "bulk", await get(server, "messages"), action="requeue", job=ids[:2])
    assert "Requeue 2 jobs" in text_of(await get(server, f"bulk/{answer.headers['location'].rpartition('/')[2]}"))


async def test_hidden_fields_of_a_body_are_masked_also_if_it_is_not_json(server: Server, intake: Intake) -> None:
    bodies = ['{"phone": "0170", "text": "hi"}', '{"phone": "0170", "text": ', "[" * 3000 + '{"phone": "0170"']
    for number, body in enumerate(bodies):
        copy_id = await put_aside(intake, Message(id=f"m{number}", body=body))
        for path in (f"messages/{copy_id}", f"jobs/{copy_id}", f"jobs/{copy_id}?format=json", f"jobs/{copy_id}/edit"):
            page = await get(server, path)
            assert page.status_code == 200, path
            assert "0170" not in page.text, path
    assert '"text": "hi"' in text_of(
        await get(server, f"messages/{await put_aside(intake, Message(id='m9', body=bodies[0]))}")
    )


async def test_long_body_is_cut(server: Server, intake: Intake) -> None:
    copy_id = await put_aside(intake, Message(id="m1", body="x" * 50_000))
    page = await get(server, f"messages/{copy_id}")
    assert "30,000 more characters are left out." in text_of(page)
    assert len(page.text) < 30_000


async def test_viewer_sees_a_message_and_changes_nothing(server: Server, shop: Shop, intake: Intake) -> None:
    copy_id = await put_aside(intake, Message(id="m1", body="hello"))
    viewer = {"Cookie": "who=vic"}
    page = await get(server, f"messages/{copy_id}", headers=viewer)
    assert "hello" in text_of(page)
    for action in ("requeue", "purge"):
        assert f"{copy_id}/{action}" not in page.text
        answer = await server.client.post(
            f"/ops/messages/{copy_id}/{action}", data={"token": token_of(page)}, headers=viewer
        )  # fmt: skip
        assert answer.status_code == 403
    assert (await shop.lane.client.record(copy_id)).ends == 1


async def test_dead_letters_leave_out_messages(server: Server, shop: Shop, intake: Intake) -> None:
    await put_aside(intake, Message(id="m1", body="hello"))
    assert "There is no dead letter." in text_of(await get(server, "dead"))
    assert await newest_dead_letters(shop.lane.client.store, DeadLetterFilter(), 10) == []


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
