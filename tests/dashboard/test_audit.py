"""The audit: every change by an operator leaves a line, whichever page it came from."""

import re

import pytest
from fastapi.routing import APIRoute

from sidelane.admin.audit import AuditLine, read_audit, record
from sidelane.model.job import JobSpec
from sidelane.web.dashboard import dashboard
from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import act, get, text_of, token_of
from tests.dashboard.shop import Shop, current_operator
from tests.web.clients import Server


async def lines(shop: Shop) -> list[AuditLine]:
    return list((await read_audit(shop.lane.client.store)).lines)


async def test_every_action_of_every_page_leaves_a_line_even_if_it_fails(server: Server, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    page = await get(server, "queues")
    router = dashboard(shop.lane, operator=current_operator)
    actions = [each for each in router.routes if isinstance(each, APIRoute) and each.methods == {"POST"}]
    audited = [each for each in actions if re.fullmatch(r"[a-z]+\.[a-z_]+", each.name)]
    assert len(audited) >= 9
    for number, route in enumerate(audited, 1):
        path = re.sub(r"\{[^}]+\}", "unknown", route.path).removeprefix("/")
        answer = await act(server, path, page)
        assert answer.status_code != 500, path
        found = await lines(shop)
        assert len(found) == number, path
        assert (found[0].action, found[0].by) == (route.name, "ann")
    exempt = {each.path for each in actions} - {each.path for each in audited}
    assert exempt == {"/preferences", "/bulk", "/dead", "/jobs/{id}/stack"}  # which change nothing, or not yet


@BOTH_STORES
async def test_line_says_who_did_what_to_which_object_why_and_with_which_result(server: Server, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    page = await get(server, "queues")
    await act(server, "queues/chat/pause", page, **{"reason": "SMTP <moves>", "for": "2h"})
    await act(server, "jobs/gone/cancel", page)
    failed, done = await lines(shop)
    assert (done.action, done.target, done.reason) == ("queue.pause", "chat", "SMTP <moves>")
    assert "paused for 2 h" in done.result
    assert not done.failed
    shown = text_of(await get(server, "audit"))
    assert "SMTP <moves>" in shown
    assert "<moves>" not in (await get(server, "audit")).text
    assert (failed.target, failed.failed) == ("gone", True)


async def test_line_names_the_object_also_if_only_the_form_names_it(server: Server, shop: Shop) -> None:
    page = await get(server, "queues")
    await act(server, "findings/mute", page, key="queue:chat")
    await act(server, "findings/unmute", page, key="queue:chat")
    await act(server, "jobs/new", page, task="echo", arguments="{}")
    submitted, unmuted, muted = await lines(shop)
    assert (muted.action, muted.target, muted.failed) == ("finding.mute", "queue:chat", True)
    assert (unmuted.action, unmuted.target, unmuted.result) == ("finding.unmute", "queue:chat", "not muted")
    assert (submitted.action, submitted.target, submitted.failed) == ("job.submit", "echo", True)
    assert "text" in submitted.result


async def test_refused_request_leaves_no_line(server: Server, shop: Shop) -> None:
    page = await get(server, "queues", headers={"Cookie": "who=vic"})
    await server.client.post(
        "/ops/queues/chat/pause", data={"token": token_of(page)}, headers={"Cookie": "who=vic"}
    )  # fmt: skip
    await server.client.post("/ops/queues/chat/pause", data={"token": "wrong"})
    assert await lines(shop) == []


async def test_lines_are_filtered_and_paged_by_the_url(server: Server, shop: Shop) -> None:
    store = shop.lane.client.store
    for number in range(120):
        line = AuditLine(by="ann" if number % 2 else "bo", action="queue.pause", target=f"queue-{number}")
        await record(store, line)
    await record(store, AuditLine(by="bo", action="job.cancel", target="j1"))
    assert "job.cancel" in text_of(await get(server, "audit?action=job"))
    assert "queue.pause" not in text_of(await get(server, "audit?action=job"))
    page, found = await get(server, "audit?by=ann"), list[str]()
    while True:
        found += re.findall(r'title="(queue-\d+)"', page.text)
        older = re.search(r'href="\./audit(\?[^"]+)" rel="next"', page.text)
        if older is None:
            break
        page = await get(server, f"audit{older[1].replace('&amp;', '&')}")
    assert found == [f"queue-{number}" for number in range(119, 0, -2)]
    assert "No line matches" in text_of(await get(server, "audit?target=nothing"))


async def test_opening_hidden_fields_is_kept(server: Server, shop: Shop) -> None:
    await shop.lane.client.store.submit([JobSpec(id="one", task="unknown", queue="q", arguments='{"phone":"1"}')])
    page = await get(server, "jobs/one")
    await act(server, "jobs/one/unmask", page, reason="ticket 4411")
    (line,) = await lines(shop)
    assert (line.action, line.target, line.reason) == ("job.unmask", "one", "ticket 4411")


async def test_pause_with_a_time_that_makes_no_sense_changes_nothing(server: Server, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    answer = await act(server, "queues/chat/pause", await get(server, "queues"), **{"for": "soon"})
    assert answer.status_code == 422
    assert "write a duration" in text_of(answer)
    assert not any(queue.paused for queue in await shop.lane.client.store.stats())


@BOTH_STORES
async def test_pause_of_a_queue_and_of_a_task_says_who_why_and_until_when(server: Server, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    for path in ("queues/chat", "tasks/echo"):
        page = await get(server, path)
        await act(server, f"{path}/pause", page, **{"reason": "a new model", "for": "2h"})
        shown = text_of(await get(server, path))
        assert "Paused by ann" in shown
        assert "“a new model”" in shown
        assert "Resume" in shown
        await act(server, f"{path}/resume", page)
        assert "Paused by ann" not in text_of(await get(server, path))


@pytest.mark.parametrize(
    "path", ["batches/none/pause", "batches/none/resume", "workers/none/drain", "workers/none/restart"]
)
async def test_action_on_what_does_not_exist_is_kept_as_failed(server: Server, shop: Shop, path: str) -> None:
    await act(server, path, await get(server, "queues"))
    (line,) = await lines(shop)
    assert (line.target, line.failed) == ("none", True)


async def test_result_is_shown_in_the_language_of_the_reader_and_kept_in_english(server: Server, shop: Shop) -> None:
    await shop.lane.submit(shop.tasks["echo"].call("a"))
    server.client.headers["Accept-Language"] = "ko"
    await act(server, "queues/chat/pause", await get(server, "queues"), **{"for": "2h"})
    assert "chat: 2 h 동안 일시 중지됨" in text_of(await get(server, "queues"))
    (line,) = await lines(shop)
    assert (line.action, line.result) == ("queue.pause", "paused for 2 h")
