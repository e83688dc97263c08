"""Extreme values in Redis: large numbers, separators in texts, nested follow-ups."""

import math
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sidelane.conformance.stores.actions import (
    claim,
    claim_job,
    event_texts,
    finish,
    ids,
    record,
    start,
    submit,
    tokens,
)
from sidelane.model.job import FINISHED, FollowUp, JobSpec, Rejection, State
from sidelane.model.outcome import Succeeded
from sidelane.model.worker import ClaimRequest
from sidelane.stores.contract import Store
from sidelane.stores.factory import open_store
from tests.contract.servers import EVERY_KIND, RunningServer


@pytest.fixture(params=EVERY_KIND)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    server = RunningServer(request.param, tmp_path).start()
    store = await open_store(server.url())
    yield store
    await store.close()
    server.stop()


async def test_the_largest_numbers_round_trip(store: Store) -> None:
    largest = 2**63 - 1
    spec = JobSpec(
        id="a", task="t", version=largest, priority=-largest, max_worker_losses=largest, retention=math.inf, expires=0.1 + 0.2,
        deadline=math.inf, abandon_after=1e-9, max_log_size=largest,
    )  # fmt: skip
    never = JobSpec(id="b", task="t", delay=math.inf)
    await submit(store, spec, never)
    assert (await record(store, "a")).spec == spec
    assert (await record(store, "b")).due == math.inf
    assert await finish(store, await claim_job(store, "a"), Succeeded("1"), *tokens("text"))
    assert await event_texts(store, "a") == ["text", "end"]
    assert (await record(store, "a")).state is State.SUCCEEDED
    await store.cancel(["b"])


async def test_texts_with_separators_are_not_confused(store: Store) -> None:
    odd = ["a:1", "a", "1:a", "\x00", "é:\n", "7:default"]
    for number, text in enumerate(odd):
        spec = JobSpec(
            id=f"j{number}", task=f"t/{text}", queue=text, user=text, key=text, unique=text, labels={text: text}
        )
        await submit(store, spec)
        assert (await record(store, spec.id)).spec == spec
    for number, text in enumerate(odd):
        request = ClaimRequest(request=text, worker=text, queues={text: 9}, tasks={f"t/{text}": 1}, limit=9)
        assert ids(list((await store.claim(request)).jobs)) == [f"j{number}"]
    assert sorted(each.name for each in await store.stats()) == sorted(odd)


async def test_nested_follow_ups_are_submitted_one_after_another(store: Store) -> None:
    last = JobSpec(id="", task="last", arguments='{"text": "\\u0000 é"}', unique="k", user="é")
    middle = JobSpec(id="", task="middle", follow_ups=(FollowUp(FINISHED, last),))
    await finish(
        store, await start(store, JobSpec(id="a", task="t", follow_ups=(FollowUp(FINISHED, middle),))), Succeeded("1")
    )
    await finish(store, await claim_job(store, "a.1.0"), Succeeded("2"))
    (claimed,) = await claim(store)
    assert (claimed.record.id, claimed.record.spec.parent) == ("a.1.0.1.0", "a.1.0")
    assert claimed.record.spec.arguments == last.arguments
    assert claimed.record.spec.user == "é"
    assert await event_texts(store, "a") == ["end"]


async def test_a_job_with_an_invalid_follow_up_is_rejected(store: Store) -> None:
    bad = FollowUp(FINISHED, JobSpec(id="", task="t", delay=math.nan))
    (answer,) = await store.submit([JobSpec(id="a", task="t", follow_ups=(bad,))])
    assert isinstance(answer, Rejection)
    assert await store.get(["a"]) == [None]
