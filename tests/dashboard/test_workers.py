"""Pages of workers and API processes: what each runs, how it is, and how those that died ended."""

import re
from dataclasses import replace

from sidelane.admin.arrivals import MIN_JOBS
from sidelane.client.maintenance import report_worker_exit
from sidelane.client.worker_requests import read_requests
from sidelane.model.job import JobSpec
from sidelane.model.worker import API, ClaimRequest, WorkerInfo
from tests.dashboard.conftest import BOTH_STORES
from tests.dashboard.pages import act, get, text_of
from tests.dashboard.shop import Shop
from tests.dashboard.waiting import until
from tests.web.clients import Server

OTHER = WorkerInfo(
    id="tts-1:box:7:1a2b", name="tts-1", host="box", pid=7, queues={"tts": 2}, tasks={"tts.render": 3}, slots=2,
    running=1, memory=612_000_000, cpu=0.3, release="2f91c0d", loop_lag=1.4, health="cannot reach the store",
)  # fmt: skip


async def heartbeat(shop: Shop, info: WorkerInfo) -> None:
    await shop.lane.client.store.heartbeat(info, [], lease=60)


@BOTH_STORES
async def test_list_shows_health_slots_resources_and_what_a_worker_runs(server: Server, shop: Shop) -> None:
    job = await shop.tasks["report"].options(user="ann").submit()
    await heartbeat(shop, OTHER)
    async for event in job.events():
        if event.name == "progress":
            break
    page = await get(server, "workers")
    text = text_of(page)
    assert re.search(r"tts-1 box , 7 cannot reach the store up for .* 1/2 tts 2f91c0d 612 MB 30 % 1400 ms", text)
    assert re.search(rf'href="\./jobs/{job.id}" title="report"', page.text)
    shop.pace.release()


async def test_api_processes_are_listed_with_their_streams(server: Server, shop: Shop) -> None:
    await heartbeat(shop, WorkerInfo(id="api:box:8:1a", name="api", kind=API, streams=12, host="box", pid=8))
    assert re.search(r"API processes .* api box , 8 ok up for .* 12 ", text_of(await get(server, "workers")))


async def test_page_of_a_worker_shows_its_queues_tasks_and_error(server: Server, shop: Shop) -> None:
    await heartbeat(shop, OTHER)
    text = text_of(await get(server, f"workers/{OTHER.id}"))
    assert "tts-1 unhealthy cannot reach the store" in text
    assert "Slots by queue tts 2 Tasks tts.render v3" in text
    assert "It runs no job." in text


@BOTH_STORES
async def test_worker_that_died_shows_how_and_which_jobs_it_was_running(server: Server, shop: Shop) -> None:
    store = shop.lane.client.store
    await store.submit([JobSpec(id="render", task="tts.render", queue="tts")])
    await heartbeat(shop, OTHER)
    await store.claim(ClaimRequest(request="r", worker=OTHER.id, queues={"tts": 1}, lease=60))
    await report_worker_exit(store, OTHER.id, "signal SIGKILL, out of memory", lease=60)
    listed = await get(server, "workers")
    assert re.search(r"Died .* tts-1 box .* signal SIGKILL, out of memory 1 2f91c0d 612 MB", text_of(listed))
    page = await get(server, f"workers/{OTHER.id}")
    assert "How signal SIGKILL, out of memory" in text_of(page)
    assert re.search(r"Jobs that it was running .* tts\.render render queued", text_of(page))


async def test_unknown_worker_has_a_page_that_says_so(server: Server) -> None:
    page = await get(server, "workers/gone:box:1:2")
    assert page.status_code == 404
    assert "No live process has this id" in text_of(page)


async def test_queue_that_no_worker_takes_is_named(server: Server, shop: Shop) -> None:
    await shop.lane.client.store.submit([JobSpec(id="a", task="t", queue="lonely")])

    async def alive() -> bool:
        return bool(await shop.lane.client.store.workers())

    await until(alive)
    assert "Jobs wait in queue lonely, which no live worker takes: 1." in text_of(await get(server, "workers"))


@BOTH_STORES
async def test_advice_shows_its_arithmetic_and_is_on_the_front_page_too(server: Server, shop: Shop) -> None:
    for pid in range(1, 9):
        name = f"extra-{pid}@b"
        await heartbeat(shop, WorkerInfo(id=name, name=name, host="b", pid=pid, queues={"chat": 2}, slots=2))
    for job in [await shop.tasks["echo"].submit("a") for _ in range(MIN_JOBS)]:
        await shop.lane.client.wait(job.id, 10)
    text = text_of(await get(server, "workers"))
    assert re.search(r"extra : \d process(es)?, \d+ slots?( each)? . now 8 processes, 2 slots each", text)
    assert re.search(r"jobs/s x [0-9.]+ m?s = [0-9.]+ slots busy on average Little's law", text)
    assert "리틀의 법칙" in text_of(await get(server, "workers", headers={"Accept-Language": "ko"}))
    page = await get(server, "")
    assert re.search(r"Advice: .*extra: processes now 8, advised \d", text_of(page))
    assert 'href="./workers#advice"' in page.text
    await shop.lane.client.wait((await shop.tasks["fail"].submit("stock_code")).id, 10)
    shop_page = text_of(await get(server, ""))
    assert re.search(r"Advice: .*extra: processes now 8, advised \d", shop_page)


@BOTH_STORES
async def test_worker_is_drained_restarted_and_resumed(server: Server, shop: Shop) -> None:
    store, path = shop.lane.client.store, f"workers/{OTHER.id}"
    healthy = replace(OTHER, health="ok", restartable=True)
    await heartbeat(shop, healthy)
    page = await get(server, path)
    await act(server, f"{path}/drain", page, reason="new disk")
    text = text_of(await get(server, path))
    assert re.search(r"drain requested Take jobs again ann asked it to finish .* “new disk” *\. Not confirmed", text)
    assert re.search(r"tts-1 box , 7 ok drain requested", text_of(await get(server, "workers")))
    await heartbeat(shop, replace(healthy, request="drain", health="drained: it takes no jobs"))

    async def drained() -> bool:
        return "tts-1 drained by an operator" in text_of(await get(server, path))

    await until(drained)
    page = await get(server, path)
    await act(server, f"{path}/restart", page)
    assert (await read_requests(store))[OTHER.id].action == "restart"
    page = await get(server, path)
    assert "restart requested" in text_of(page)
    await act(server, f"{path}/resume", page)
    assert await read_requests(store) == {}
    assert "worker.restart" in text_of(await get(server, "audit"))


async def test_viewer_has_no_form_and_changes_nothing(server: Server, shop: Shop) -> None:
    await heartbeat(shop, OTHER)
    server.client.cookies.set("who", "vic")
    page = await get(server, f"workers/{OTHER.id}")
    assert "Drain" not in text_of(page)
    await server.client.post(f"/ops/workers/{OTHER.id}/drain", data={"token": "x"})
    assert await read_requests(shop.lane.client.store) == {}


async def test_worker_in_a_web_process_cannot_be_restarted(server: Server, shop: Shop) -> None:
    await heartbeat(shop, OTHER)
    page = await get(server, f"workers/{OTHER.id}")
    assert "so it cannot be restarted from here" in text_of(page)
    assert "Restart" not in text_of(page)
