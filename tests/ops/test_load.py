"""A load on a real service: what it measures, and what it does when the service refuses, fails, breaks or dies."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import pytest
from fastapi import Response
from fastapi.responses import StreamingResponse

from sidelane.admin.figures import read_history
from sidelane.model.errors import ServiceUnreachable
from sidelane.model.history import Count
from sidelane.model.job import Query
from sidelane.ops.load.document import load_document
from sidelane.ops.load.figures import LoadFigures
from sidelane.ops.load.plan import HeavyRoute, LoadPlan
from sidelane.ops.load.run import run_load
from tests.contract.servers import free_port
from tests.stores.proxy import between
from tests.web.clients import Server, run_server
from tests.web.service import Service, make_service

pytestmark = pytest.mark.row("R21")

HEALTH = "/health/live"


class Running:
    """The service on a server, and loads on it."""

    def __init__(self, service: Service, server: Server) -> None:
        self.service = service
        self.server = server
        self.stop = asyncio.Event()

    def load(
        self, *posts: str, body: str | None = None, port: int = 0, **options: Any
    ) -> "Coroutine[Any, Any, dict[str, Any]]":
        """Return a load that can be awaited. Its document has what it measured, `figures` what it has measured so far."""
        heavy = [HeavyRoute(path=path, body=body) for path in posts]
        plan = LoadPlan(
            url=f"http://127.0.0.1:{port or self.server.port}",
            heavy=heavy,
            **{"duration": 0.5, "timeout": 10.0, "headers": {"X-User": "load-{user}"}, "idle": 0.2, **options},
        )
        figures = self.figures = LoadFigures(plan)

        async def run() -> dict[str, Any]:
            async with asyncio.timeout(20):
                await run_load(plan, figures, self.stop)
            return load_document(plan, figures)

        return run()


@pytest.fixture
async def running(tmp_path: Path) -> AsyncIterator[Running]:
    service = make_service(tmp_path)

    @service.app.post("/foreign")
    async def foreign() -> StreamingResponse:
        return StreamingResponse(iter(["data: one\n\n", "data: [DONE]\n\n"]), media_type="text/event-stream")

    @service.app.post("/malformed")
    async def malformed() -> StreamingResponse:
        return StreamingResponse(iter(["event: job\ndata: {\n\n"]), media_type="text/event-stream")

    @service.app.post("/moved")
    async def moved() -> Response:
        return Response(status_code=307, headers={"Location": "/elsewhere"})

    @service.app.post("/silent")
    async def silent() -> Response:
        await asyncio.sleep(30)
        return Response()

    async with run_server(service.app) as server:
        yield Running(service, server)


async def test_jobs_of_a_load_are_those_of_the_history(running: Running) -> None:
    document = await running.load("/do/echo", body='{"text":"No. {n} of {user}"}', rate=20.0, wait=5.0, light=HEALTH)
    assert document["errors"] == {}
    assert document["outcomes"] == {"succeeded": 10}
    (heavy,) = document["heavy"]
    assert heavy["end"]["count"] == 10
    assert document["light"]["count"] == 5
    assert document["light"]["idle"]["count"] == 2
    assert document["light"]["per_second"] == pytest.approx(10, rel=0.3)
    jobs = await running.service.lane.client.store.list_jobs(Query(task="echo"))
    assert {(job.spec.user, job.spec.arguments) for job in jobs} == {
        (f"load-{n}", f'{{"text":"No. {n} of {n}"}}') for n in range(1, 11)
    }
    figures = (await read_history(running.service.lane.client.store, 60)).by_task()["echo"].figures
    assert figures.count(Count.SUBMITTED) == figures.count(Count.SUCCEEDED) == 10


async def test_a_job_is_followed_from_its_202_to_its_result(running: Running) -> None:
    document = await running.load("/do/echo", users=1, duration=0.1)
    (heavy,) = document["heavy"]
    assert document["outcomes"] == {"succeeded": 1}
    assert heavy["accepted"]["max"] < heavy["end"]["max"]
    assert heavy["end"]["max"] > 1  # the least `Retry-After`


async def test_streams_are_measured_to_their_end(running: Running) -> None:
    document = await running.load("/do/talk", body='{"words":5}', users=2, think=0.1, stream=True)
    (heavy,) = document["heavy"]
    jobs = document["outcomes"]["succeeded"]
    assert document["errors"] == {}
    assert document["tokens"] == 5 * jobs > 10
    assert document["events"] == 6 * jobs  # with the end
    assert {heavy[name]["count"] for name in ("accepted", "first_event", "first_token", "end")} == {jobs}
    assert heavy["accepted"]["p50"] <= heavy["first_event"]["p50"] == heavy["first_token"]["p50"] <= heavy["end"]["p50"]
    assert document["stream_tokens_per_second"]["count"] <= jobs
    figures = (await read_history(running.service.lane.client.store, 60)).by_task()["talk"].figures
    assert figures.count(Count.SUCCEEDED) == jobs
    assert figures.first_event is not None
    assert figures.first_event.p50 <= heavy["first_event"]["p50"]  # which counts the wait and the way there too


async def test_the_time_to_the_first_event_is_that_of_the_task(running: Running) -> None:
    loading = asyncio.create_task(running.load("/do/paced", rate=2.0, duration=0.4, stream=True))
    await running.service.pace.running.wait()
    before = running.figures.heavy["/do/paced"].first_event.count
    await asyncio.sleep(0.3)
    running.service.pace.allow()
    document = await loading
    assert before == 0
    assert 0.3 < document["heavy"][0]["first_event"]["p50"] < 1.5


async def test_users_wait_for_their_answers(running: Running) -> None:
    document = await running.load("/do/held", users=3, wait=5.0, duration=0.2, timeout=0.4)
    assert document["sent"] == 3
    assert document["errors"] == {"timeout": 3}
    jobs = await running.service.lane.client.store.list_jobs(Query(task="held"))
    assert {job.spec.user for job in jobs} == {"load-1", "load-2", "load-3"}


@pytest.mark.long
async def test_arrivals_do_not_wait_for_answers(running: Running) -> None:
    document = await running.load("/silent", rate=40.0, timeout=1.0)
    assert document["sent"] == 20
    assert document["errors"] == {"timeout": 20}


async def test_the_result_in_the_same_answer_ends_a_request(running: Running) -> None:
    document = await running.load("/do/echo", users=1, wait=5.0, duration=0.2)
    (heavy,) = document["heavy"]
    assert document["outcomes"] == {"succeeded": heavy["end"]["count"]}
    assert heavy["accepted"]["count"] == 0


async def test_routes_alternate(running: Running) -> None:
    document = await running.load("/do/echo", "/do/draw", "/do/echo", body='{"points":1}', rate=12.0, wait=5.0)
    kinds = {each["route"]: each["end"]["count"] for each in document["heavy"]}
    assert kinds["POST /do/draw"] == 2
    assert document["errors"] == {"status 422": 4}  # of /do/echo, which has no points


@pytest.mark.long
async def test_a_refused_request_is_repeated_after_the_time_that_the_service_names(running: Running) -> None:
    ann = {"X-User": "ann"}
    loading = asyncio.create_task(running.load("/do/one", rate=4.0, headers=ann, wait=5.0))
    await until(lambda: running.figures.refused[429] == 1)
    running.service.pace.allow(2)
    document = await loading
    assert document["errors"] == {}
    assert document["outcomes"] == {"succeeded": 2}
    assert document["heavy"][0]["end"]["max"] > 1  # the least `Retry-After`


async def test_what_is_refused_to_the_end_is_an_error(running: Running) -> None:
    await running.server.client.post("/do/one", headers={"X-User": "ann"})
    document = await running.load("/do/one", rate=4.0, headers={"X-User": "ann"}, timeout=0.5)
    assert document["refused"] == {"429": 2}
    assert document["errors"] == {"refused until the timeout": 2}
    assert document["error_share"] == 1


@pytest.mark.long
@pytest.mark.parametrize(
    ("path", "options", "error"),
    [
        ("/do/broken", {"stream": True}, "the job failed with status 500"),
        ("/do/teapot", {}, "the job failed with status 418"),
        ("/no-such-route", {}, "status 404"),
        ("/health/live", {"stream": True}, "status 405"),
        ("/malformed", {"stream": True}, "the answer is malformed"),
        ("/moved", {}, "status 307"),
    ],
)
async def test_errors_are_counted_by_kind(running: Running, path: str, options: dict[str, Any], error: str) -> None:
    document = await running.load(path, rate=4.0, **options)
    assert document["errors"] == {error: 2}
    assert document["outcomes"] == {}


async def test_a_stream_of_another_kind_is_measured_too(running: Running) -> None:
    document = await running.load("/foreign", rate=4.0, stream=True)
    assert document["errors"] == {}
    assert document["events"] == 4
    assert document["heavy"][0]["first_event"]["count"] == 2


@pytest.mark.long
@pytest.mark.parametrize("fault", ["reset", "cut"])
async def test_a_stream_that_breaks_is_continued(running: Running, fault: str) -> None:
    async with between(running.server.port) as proxy:
        load = running.load(
            "/do/paced", body='{"words":3}', port=proxy.port, rate=1.0, duration=0.5, stream=True
        )  # fmt: skip
        loading = asyncio.create_task(load)
        running.service.pace.allow()
        await until(lambda: running.figures.tokens == 1)
        getattr(proxy, fault)()
        running.service.pace.allow(2)
        document = await loading
    assert document["errors"] == {}
    assert document["resumed"] == 1
    assert document["tokens"] == 3
    assert document["outcomes"] == {"succeeded": 1}


async def test_a_service_that_dies_makes_errors_and_ends_nothing(running: Running) -> None:
    async with between(running.server.port) as proxy:
        load = running.load("/do/echo", port=proxy.port, users=2, duration=1.5, wait=5.0, light=HEALTH, idle=0.0)
        loading = asyncio.create_task(load)
        await until(lambda: running.figures.outcomes["succeeded"] > 0)
        proxy.refuse()
        proxy.reset()
        document = await loading
    assert document["errors"].keys() <= {"cannot connect", "the connection broke"}
    assert 0 < sum(document["errors"].values()) < 30  # users do not repeat in a busy loop


async def test_a_stopped_load_ends_at_once(running: Running) -> None:
    loading = asyncio.create_task(running.load("/silent", rate=10.0, duration=30.0))
    await until(lambda: running.figures.in_flight >= 2)
    running.stop.set()
    document = await loading
    assert document["in_flight"] >= 2
    assert document["seconds"] < 5
    assert "had not ended" in document["notes"][0]


async def test_an_address_where_nothing_answers_gets_no_load(running: Running) -> None:
    with pytest.raises(ServiceUnreachable, match=r"Nothing answers at http://127\.0\.0\.1:\d+ .*no load was sent"):
        await running.load("/do/echo", port=free_port(), rate=1.0)
    assert running.figures.sent == 0


async def until(condition: Any) -> None:
    """Wait until something is measured, which sets no event."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.01)
