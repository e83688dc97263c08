"""The page of a job: why it is as it is, its attempts, what it hides, its stream, and what operators do to it."""

import asyncio
import json
import re

from sidelane import Job
from sidelane.admin.jobs import job_detail, situation_of
from sidelane.admin.why import NOW, explain
from sidelane.model.job import FollowUp, JobSpec, State
from sidelane.tasks.internal_queues import CALLBACK_QUEUE, CALLBACK_TASK
from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import act, get, text_of
from tests.dashboard.shop import Shop
from tests.dashboard.waiting import until
from tests.web.clients import Server, frames_of

VIEWER = {"Cookie": "who=vic"}


async def started(shop: Shop, words: str, count: int, **arguments: str) -> Job[str]:
    """Submit a job that answers with some words, and wait until it has yielded the first `count`."""
    job: Job[str] = await shop.tasks["answer"].submit(words, **arguments)
    for _ in range(count):
        shop.pace.release()
    async for event in job.events():
        count -= event.name == "token"
        if count == 0:
            break
    return job


async def ended(shop: Shop, job_id: str) -> None:
    await shop.lane.client.wait(job_id, 10)


def texts_of(page: str) -> list[str]:
    """Return the texts of the attempts on a page, newest first."""
    return re.findall(r'<p class="say-text[^>]*>([^<]*)</p>\s', page)


@BOTH_STORES
async def test_first_line_says_why_as_the_command_line_does(server: Server, shop: Shop) -> None:
    await shop.lane.client.store.pause("report")
    job = await shop.tasks["fail"].submit("x")
    page = text_of(await get(server, f"jobs/{job.id}"))
    assert "fail queued" in page
    assert "Now Not started: queue 'report' is paused" in page
    await shop.lane.client.store.pause("report", paused=False)
    await ended(shop, job.id)
    situation = await situation_of(shop.lane.client, job.id)
    (sentence,) = explain(situation, situation.record.ended or 0.0)[NOW]
    assert str(sentence) == "Gave up 0.0 s ago after attempt 1: KeyError: 'x'."
    assert "after attempt 1: KeyError: 'x'." in text_of(await get(server, f"jobs/{job.id}"))


@BOTH_STORES
async def test_page_and_command_say_how_many_listen(server: Server, shop: Shop) -> None:
    job = await started(shop, "one two", 1)
    other = await shop.tasks["answer"].submit("three")
    async with server.stream(f"/jobs/{job.id}/events") as first, server.stream(f"/jobs/{job.id}/events") as second:
        await first.until("token")
        await second.until("token")

        async def are_known() -> bool:
            return "Listeners 2 now" in text_of(await get(server, f"jobs/{job.id}"))

        await until(are_known)
        assert "Listeners 0 now" in text_of(await get(server, f"jobs/{other.id}"))
        assert (await job_detail(shop.lane.client, job.id)).document()["listeners"] == 2
    await job.cancel()
    await ended(shop, job.id)
    assert (await job_detail(shop.lane.client, job.id)).document()["listeners"] is None


async def test_failed_job_shows_each_failure_with_its_traceback(server: Server, shop: Shop) -> None:
    job = await shop.tasks["fail"].submit("stock_code")
    await ended(shop, job.id)
    page = text_of(await get(server, f"jobs/{job.id}"))
    assert "Attempt 1 KeyError: 'stock_code'" in page
    assert "raise KeyError(message)" in page
    assert "Clients see: 500" in page


@BOTH_STORES
async def test_page_has_the_text_so_far_and_the_stream_continues_after_it(server: Server, shop: Shop) -> None:
    job = await started(shop, "one two three four", 2)
    page = (await get(server, f"jobs/{job.id}")).text
    assert texts_of(page) == ["one two "]
    after = re.search(r'data-after="([^"]+)"', page)
    assert after
    shop.pace.release()
    shop.pace.release()
    await ended(shop, job.id)
    frames = frames_of((await get(server, f"jobs/{job.id}/stream", params={"after": after[1]})).text)
    assert [frame.data["text"] for frame in frames if frame.event == "token"] == ["three ", "four "]
    assert frames[-1].event == "end"


async def test_stream_resumes_after_the_last_event_that_the_browser_has(server: Server, shop: Shop) -> None:
    job = await started(shop, "one two three", 3)
    await ended(shop, job.id)
    whole = frames_of((await get(server, f"jobs/{job.id}/stream")).text)
    second = [frame for frame in whole if frame.event == "token"][1]
    resumed = await get(server, f"jobs/{job.id}/stream", headers={"Last-Event-ID": second.id})
    assert [frame.data.get("text") for frame in frames_of(resumed.text) if frame.event == "token"] == ["three "]
    assert (await get(server, f"jobs/{job.id}/stream?after=nonsense")).status_code == 400


async def test_token_is_on_the_stream_within_300_ms(server: Server, shop: Shop) -> None:
    job = await started(shop, "one two", 1)
    async with server.stream(f"/ops/jobs/{job.id}/stream") as stream:
        await stream.until("token")
        shop.pace.release()
        async with asyncio.timeout(0.3):
            await stream.until("token")


@BOTH_STORES
async def test_attempts_are_side_by_side_with_where_they_differ(server: Server, shop: Shop) -> None:
    job = await started(shop, "first words of it", 4)
    await ended(shop, job.id)
    await shop.lane.client.store.requeue([job.id], arguments='{"text":"first words are other"}')
    for _ in range(4):
        shop.pace.release()
    await ended(shop, job.id)
    page = await get(server, f"jobs/{job.id}")
    assert texts_of(page.text) == ["first words are other ", "first words of it "]
    assert "Differs from word 3 on" in text_of(page)
    assert "Attempt 1 ended the job (succeeded)" in text_of(page)


async def test_refresh_of_an_open_page_leaves_its_text_alone(server: Server, shop: Shop) -> None:
    job = await started(shop, "one", 1)
    await ended(shop, job.id)
    page = await get(server, f"jobs/{job.id}", headers={"HX-Request": "true"})
    assert texts_of(page.text) == []
    assert "hx-morph-skip" in page.text


@BOTH_STORES
async def test_hidden_fields_are_shown_only_to_who_may_see_them(server: Server, shop: Shop) -> None:
    job = await started(shop, "one", 1, phone="+82 10 1234 5678")
    await ended(shop, job.id)
    page = await get(server, f"jobs/{job.id}")
    assert "1234 5678" not in page.text
    assert '"phone": "••••••"' in text_of(page)
    document = (await get(server, f"jobs/{job.id}?format=json")).json()
    assert document["arguments"] == {"text": "one", "phone": "••••••"}
    assert '"phone": "+82 10 1234 5678"' in text_of(await act(server, f"jobs/{job.id}/unmask", page))
    viewed = await get(server, f"jobs/{job.id}", headers=VIEWER)
    assert "Show hidden fields" not in text_of(viewed)
    refused = await server.client.post(f"/ops/jobs/{job.id}/unmask", data={"token": token(viewed.text)}, headers=VIEWER)
    assert refused.status_code == 403
    assert "1234 5678" not in refused.text


def token(page: str) -> str:
    found = re.search(r'name="token" value="([^"]*)"', page)
    assert found
    return found[1]


@BOTH_STORES
async def test_operator_cancels_a_job_and_keeps_its_text(server: Server, shop: Shop) -> None:
    job = await started(shop, "one two three", 2)
    answer = await act(server, f"jobs/{job.id}/cancel", await get(server, f"jobs/{job.id}"))
    assert answer.status_code == 303
    await ended(shop, job.id)
    page = await get(server, f"jobs/{job.id}")
    assert "answer cancelled" in text_of(page)
    assert texts_of(page.text) == ["one two "]


async def test_operator_requeues_a_job(server: Server, shop: Shop) -> None:
    job = await shop.tasks["echo"].submit("a")
    await ended(shop, job.id)
    await act(server, f"jobs/{job.id}/requeue", await get(server, f"jobs/{job.id}"))
    await ended(shop, job.id)
    assert (await job.record()).attempt == 2


async def test_viewer_sees_no_button_and_changes_nothing(server: Server, shop: Shop) -> None:
    job = await shop.tasks["echo"].submit("a")
    await ended(shop, job.id)
    page = await get(server, f"jobs/{job.id}", headers=VIEWER)
    assert "Requeue" not in text_of(page)
    assert "Duplicate" not in text_of(page)
    for path in ("cancel", "requeue", "edit", "duplicate", "unmask"):
        answer = await server.client.post(
            f"/ops/jobs/{job.id}/{path}", data={"token": token(page.text)}, headers=VIEWER
        )
        assert answer.status_code == 403
    assert (await job.record()).attempt == 1


async def test_job_that_is_unknown_or_gone_says_so(server: Server, shop: Shop) -> None:
    for path in ("", "/events", "/edit", "/stream"):
        page = await get(server, f"jobs/nothing{path}")
        assert page.status_code == 404
        assert "There is no job 'nothing'" in text_of(page)
    job = await shop.tasks["echo"].submit("a")
    await ended(shop, job.id)
    await shop.lane.client.store.remove([job.id])
    assert (await get(server, f"jobs/{job.id}")).status_code in (404, 410)


@BOTH_STORES
async def test_events_are_shown_in_pages_newest_first(server: Server, shop: Shop) -> None:
    job = await started(shop, "w " * 120, 120)
    await ended(shop, job.id)
    first = await get(server, f"jobs/{job.id}/events")
    numbers = re.findall(r"<tr><td>(\d+)</td>", first.text)
    older = re.search(r'href="[^"]+/events(\?before=\d+)"', first.text)
    assert older
    numbers += re.findall(r"<tr><td>(\d+)</td>", (await get(server, f"jobs/{job.id}/events{older[1]}")).text)
    assert numbers == [str(number) for number in range(121, 0, -1)]


@BOTH_STORES
async def test_children_and_callbacks_are_listed(server: Server, shop: Shop) -> None:
    target = {"to": {"url": "https://be.example.com/feedback?token=secret"}, "on": "end", "progress": False}
    callback = FollowUp(frozenset({State.SUCCEEDED}), JobSpec(id="", task=CALLBACK_TASK, arguments=json.dumps(target)))
    store = shop.lane.client.store
    await store.submit([JobSpec(id="parent", task="unknown", queue="q", follow_ups=(callback,))])
    delivery = JobSpec(id="parent.1.0", task=CALLBACK_TASK, queue=f"{CALLBACK_QUEUE}.none", parent="parent",
                       arguments=json.dumps(target))  # fmt: skip
    await store.submit([delivery, JobSpec(id="child", task="speak", queue="q", parent="parent")])
    page = text_of(await get(server, "jobs/parent"))
    assert "Jobs that it submitted Job State Age speak child queued" in page
    assert "https://be.example.com/feedback" in page
    assert "secret" not in page.split("Input")[0]


async def test_trace_of_a_job_is_linked_as_the_application_says(server: Server, shop: Shop) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    await shop.lane.client.store.submit([JobSpec(id="traced", task="unknown", queue="q", trace=trace)])
    assert (
        'href="https://traces.example.com/0af7651916cd43dd8448eb211c80319c"' in (await get(server, "jobs/traced")).text
    )


HOSTILE = '"><script>hacked()</script><img src=x onerror=hacked()>'


@BOTH_STORES
async def test_markup_in_any_part_of_a_job_is_text(server: Server, shop: Shop) -> None:
    spec = JobSpec(
        id="hostile", task=HOSTILE, queue=HOSTILE, user=HOSTILE, key=HOSTILE, labels={HOSTILE: HOSTILE},
        arguments=json.dumps({HOSTILE: HOSTILE}), trace=HOSTILE, batch=None,
    )  # fmt: skip
    await shop.lane.client.store.submit([spec])
    failed = await shop.tasks["fail"].submit(HOSTILE)
    answered = await shop.tasks["answer"].submit(HOSTILE)
    for _ in range(9):
        shop.pace.release()
    await ended(shop, failed.id)
    await ended(shop, answered.id)
    paths = ["jobs", "jobs/new?task=" + HOSTILE, "jobs?text=" + HOSTILE, "jobs?state=" + HOSTILE]
    paths += [
        f"jobs/{job}{page}"
        for job in ("hostile", failed.id, answered.id)
        for page in ("", "/events", "/edit", "/duplicate")
    ]
    for path in paths:
        page = (await get(server, path)).text
        assert "<script>" not in page, path
        assert "<img" not in page, path
