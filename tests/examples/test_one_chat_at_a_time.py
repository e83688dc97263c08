"""The stock chat answers one question of a user at a time; nothing here needs the language model."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest

from examples.stock_chat import main
from examples.stock_chat.asking import CHAT
from examples.stock_chat.conversations import Conversations
from examples.stock_chat.lane import lane
from sidelane.testing import harness

MESSAGES = CHAT.format(chat_session_id="s")
BODY = {"message": "Is it dear?", "stock_code": "990010", "stock_name": "Hanbit Chips"}


@pytest.fixture
def conversations(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conversations:
    """What is said is kept in a file of the test's own."""
    found = Conversations(tmp_path / "messages.db")
    for module in ("asking", "main", "polling", "tasks"):
        monkeypatch.setattr(f"examples.stock_chat.{module}.conversations", found)
    return found


@pytest.fixture
async def client(conversations: Conversations) -> AsyncIterator[httpx2.AsyncClient]:
    """The service, whose jobs stay in their queue: no worker is there."""
    transport = httpx2.ASGITransport(app=main.app)
    async with harness(lane), httpx2.AsyncClient(transport=transport, base_url="http://chat") as client:
        yield client


async def test_a_second_question_is_refused_until_the_first_has_ended(client: httpx2.AsyncClient) -> None:
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


async def test_a_question_that_was_turned_away_is_not_part_of_the_session(
    client: httpx2.AsyncClient, conversations: Conversations
) -> None:
    first = await client.post(MESSAGES, json=BODY, headers={"X-User": "ann"})
    for path in (MESSAGES, f"{MESSAGES}/stream"):
        await client.post(path, json=BODY, headers={"X-User": "ann"})
    said = await conversations.recent("s", "ann", 10)
    assert [message.id for message in said] == [first.json()["request_id"]]


async def test_a_question_that_is_sent_again_under_its_key_is_the_same_one(
    client: httpx2.AsyncClient, conversations: Conversations
) -> None:
    headers = {"X-User": "ann", "Idempotency-Key": "k", "Prefer": "wait=0", "Accept": "application/json"}
    answers = [await client.post(f"{MESSAGES}/stream", json=BODY, headers=headers) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert len(await conversations.recent("s", "ann", 10)) == 1
