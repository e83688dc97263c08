"""Stock chat: one question per user at a time. These tests need no language model."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from examples.stock_chat import main
from examples.stock_chat.conversations import Conversations
from examples.stock_chat.lane import lane
from examples.stock_chat.messages import CHAT
from sidelane import Cursor
from sidelane.testing import Harness, harness

MESSAGES = CHAT.format(chat_session_id="s")
BODY = {"message": "Is it dear?", "stock_code": "990010", "stock_name": "Hanbit Chips"}


@pytest.fixture
def conversations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conversations:
    """Conversations in a file of the test."""
    conversations = Conversations(tmp_path / "messages.db")
    for module in ("messages", "main", "polling", "tasks"):
        monkeypatch.setattr(f"examples.stock_chat.{module}.conversations", conversations)
    return conversations


@pytest.fixture
async def opened(conversations: Conversations) -> AsyncIterator[Harness]:
    """The lane without a worker, so that jobs stay queued."""
    async with harness(lane) as opened:
        yield opened


@pytest.fixture
async def client(opened: Harness) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the service."""
    transport = httpx2.ASGITransport(app=main.app)
    async with httpx2.AsyncClient(transport=transport, base_url="http://chat") as client:
        yield client


@pytest.mark.row("R5")
async def test_second_question_of_a_user_is_429_until_the_first_job_ends(client: httpx2.AsyncClient) -> None:
    first = await client.post(MESSAGES, json=BODY, headers={"X-User": "ann"})
    assert first.status_code == 202
    for path in (MESSAGES, f"{MESSAGES}/stream"):
        second = await client.post(path, json=BODY, headers={"X-User": "ann"})
        assert second.status_code == 429
        assert second.json()["detail"] == "The limit 'chats' is reached: 1 job is unfinished."
        assert int(second.headers["Retry-After"]) >= 1
        assert second.headers["RateLimit"] == '"chats";r=0'
    other = await client.post(MESSAGES, json=BODY, headers={"X-User": "bob"})
    assert other.status_code == 202

    await client.post(f"/jobs/{first.json()['request_id']}/cancel", headers={"X-User": "ann"})
    third = await client.post(MESSAGES, json=BODY, headers={"X-User": "ann"})
    assert third.status_code == 202


@pytest.mark.parametrize("removed", [False, True])
async def test_job_of_another_user_looks_like_none(opened: Harness, client: httpx2.AsyncClient, removed: bool) -> None:
    job_id = (await client.post(MESSAGES, json=BODY, headers={"X-User": "ann"})).json()["request_id"]
    paths = [f"/requests/{job_id}/status", f"/requests/{job_id}/result", f"/jobs/{job_id}", f"/jobs/{job_id}/events"]
    if removed:
        await client.post(f"/jobs/{job_id}/cancel", headers={"X-User": "ann"})
        await opened.advance(8 * 86_400)
    assert (await client.get(paths[0], headers={"X-User": "ann"})).status_code == (410 if removed else 200)
    for path in paths:
        answer = await client.get(path, headers={"X-User": "bob"})
        unknown = await client.get(path.replace(job_id, "0" * 32), headers={"X-User": "bob"})
        assert answer.status_code == unknown.status_code == 404, path
        assert answer.text == unknown.text.replace("0" * 32, job_id)
    resumed = {"X-User": "bob", "Last-Event-ID": Cursor(1, 1).text(job_id)}
    assert (await client.post(f"{MESSAGES}/stream", json=BODY, headers=resumed)).status_code == 404
    assert (await client.post(f"/jobs/{job_id}/cancel", headers={"X-User": "bob"})).status_code == 404


async def test_refused_question_is_not_stored_in_the_session(
    client: httpx2.AsyncClient, conversations: Conversations
) -> None:
    first = await client.post(MESSAGES, json=BODY, headers={"X-User": "ann"})
    for path in (MESSAGES, f"{MESSAGES}/stream"):
        await client.post(path, json=BODY, headers={"X-User": "ann"})
    stored = await conversations.recent("s", "ann", 10)
    assert [message.id for message in stored] == [first.json()["request_id"]]


async def test_repeated_question_with_the_same_key_is_stored_once(
    client: httpx2.AsyncClient, conversations: Conversations
) -> None:
    headers = {"X-User": "ann", "Idempotency-Key": "k", "Prefer": "wait=0", "Accept": "application/json"}
    answers = [await client.post(f"{MESSAGES}/stream", json=BODY, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert len(await conversations.recent("s", "ann", 10)) == 1
