"""Forms of jobs: a new job, a copy, and a requeue with other input. What a person wrote is never lost."""

import json

import httpx2
import pytest

from sidelane import Job
from sidelane.model.job import Query
from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import act, get, text_of
from tests.dashboard.shop import Shop
from tests.web.clients import Server


async def echoed(shop: Shop, text: str = "a") -> Job[str]:
    """Return a job that has ended."""
    job: Job[str] = await shop.tasks["echo"].options(user="ann", key="k", labels={"plan": "pro"}).submit(text)
    assert await job.result(timeout=10) == text
    return job


def new_id(answer: httpx2.Response) -> str:
    """Return the job to whose page an answer leads."""
    assert answer.status_code == 303, text_of(answer)
    return str(answer.headers["location"]).rpartition("/")[2]


@BOTH_STORES
async def test_new_job_is_submitted_from_the_schema_of_its_task(server: Server, shop: Shop) -> None:
    assert "echo queue chat" in text_of(await get(server, "jobs/new"))
    page = await get(server, "jobs/new?task=answer")
    assert 'Field Type Default text string required phone string ""' in text_of(page)
    assert "&#34;text&#34;: &#34;&#34;" in page.text
    answer = await act(server, "jobs/new", page, task="echo", arguments='{"text": "hello"}', user="bob", key="k1")
    record = await shop.lane.client.wait(new_id(answer), 10)
    assert (record.result, record.spec.user, record.spec.key) == ('"hello"', "bob", "k1")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ('{"text": ', "The input is not valid JSON"),
        ("[1]", "must be a JSON object"),
        ('{"wrong": 1}', "wrong"),
        ('{"text": 7}', "text"),
        ("[" * 50_000, "not valid JSON"),
    ],
)
async def test_wrong_input_is_explained_and_kept(server: Server, shop: Shop, arguments: str, message: str) -> None:
    job = await echoed(shop)
    for path, fields in (
        ("jobs/new", {"task": "echo", "user": "bob"}),
        (f"jobs/{job.id}/edit", {}),
        (f"jobs/{job.id}/duplicate", {}),
    ):
        page = await get(server, path + ("?task=echo" if path == "jobs/new" else ""))
        answer = await act(server, path, page, arguments=arguments, **fields)
        assert answer.status_code == 422
        assert message in text_of(answer).partition("Input, a JSON object")[0]
        assert arguments.replace('"', "&#34;") in answer.text
        assert not fields or 'value="bob"' in answer.text
    assert [record.id for record in await shop.lane.client.store.list_jobs(Query())] == [job.id]
    assert (await job.record()).attempt == 1


@BOTH_STORES
async def test_requeue_with_other_input_runs_the_same_job_again(server: Server, shop: Shop) -> None:
    job = await echoed(shop)
    answer = await act(
        server, f"jobs/{job.id}/edit", await get(server, f"jobs/{job.id}/edit"), arguments='{"text":"b"}'
    )
    assert new_id(answer) == job.id
    assert await job.result(timeout=10) == "b"
    assert (await job.record()).attempt == 2


async def test_hidden_fields_keep_their_values_when_the_rest_is_edited(server: Server, shop: Shop) -> None:
    job = await shop.tasks["answer"].submit("one", phone="+82 10 1234 5678")
    await shop.lane.client.cancel(job.id)
    await shop.lane.client.wait(job.id, 10)
    page = await get(server, f"jobs/{job.id}/edit")
    assert "1234 5678" not in page.text
    await act(server, f"jobs/{job.id}/edit", page, arguments=json.dumps({"text": "two", "phone": "••••••"}))
    assert json.loads((await job.record()).spec.arguments) == {"text": "two", "phone": "+82 10 1234 5678"}


async def test_job_that_runs_again_meanwhile_is_left_alone(server: Server, shop: Shop) -> None:
    job = await echoed(shop)
    page = await get(server, f"jobs/{job.id}/edit")
    await shop.lane.client.store.pause("chat")
    await shop.lane.client.requeue(job.id)
    answer = await act(server, f"jobs/{job.id}/edit", page, arguments='{"text":"b"}')
    assert answer.status_code == 409
    assert "unchanged: it is not finished (queued)" in text_of(answer)
    assert (await job.record()).spec.arguments == '{"text":"a"}'


@BOTH_STORES
async def test_copy_of_a_job_has_its_options_and_new_input(server: Server, shop: Shop) -> None:
    job = await echoed(shop)
    page = await get(server, f"jobs/{job.id}/duplicate")
    answer = await act(server, f"jobs/{job.id}/duplicate", page, arguments='{"text":"b"}')
    record = await shop.lane.client.wait(new_id(answer), 10)
    assert (record.result, record.spec.user, record.spec.key) == ('"b"', "ann", "k")
    assert record.spec.labels == {"plan": "pro"}
    assert (await job.record()).result == '"a"'


async def test_full_queue_refuses_a_copy_and_keeps_the_input(server: Server, shop: Shop) -> None:
    small = shop.lane.task(queue="small", name="small")(shop.tasks["echo"].function)
    await shop.lane.client.store.pause("small")
    first = [await small.submit("a") for _ in range(2)]
    page = await get(server, f"jobs/{first[0].id}/duplicate")
    answer = await act(server, f"jobs/{first[0].id}/duplicate", page, arguments='{"text": "kept"}')
    assert answer.status_code == 503
    assert "The queue 'small' is full" in text_of(answer)
    assert "kept" in answer.text


async def test_task_that_is_unknown_says_so(server: Server) -> None:
    assert "There is no task nothing here." in text_of(await get(server, "jobs/new?task=nothing"))
