"""Uploads of refused requests are removed at once, and requests are refused before their bodies are read if possible."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response, UploadFile

from sidelane import ConcurrencyLimit, File, Queue, Sidelane, SidelaneError
from sidelane.model.ids import new_id
from sidelane.model.job import Query, State
from sidelane.web import Jobs, Responder, problem_handler
from tests.files.conftest import everything

ANN = {"X-User": "ann"}
MAX_BYTES = 300_000
TOO_LARGE = b"x" * (MAX_BYTES + 1)
CONTENT = b"x" * 100_000
PATHS = ["plain", "checked"]
REFUSED_BY_HEADERS: list[tuple[dict[str, str], int]] = [
    ({}, 403),
    ({"X-User": ""}, 403),
    ({**ANN, "Last-Event-ID": "nonsense"}, 400),
    ({**ANN, "Idempotency-Key": ""}, 400),
    ({**ANN, "Idempotency-Key": "k" * 256}, 400),
]


def user_of(request: Request) -> str | None:
    return request.headers.get("X-User")


class UploadService:
    """A service that accepts uploads on FastAPI's routes and on checked routes."""

    def __init__(self, folder: Path) -> None:
        self.lane = lane = Sidelane(
            store=f"sqlite:///{folder / 'jobs.db'}",
            settings={
                "lease_duration": 2.0,
                "file_storage": str(folder / "files"),
                "files_url": "http://uploads/files",
            },
            queues=[Queue("small", max_queued=1)],
        )

        @lane.task(limits=[ConcurrencyLimit(1, per="user")])
        async def analyse(audio: File, *, times: int = 1) -> int:
            return audio.size * times

        @lane.task(queue="small")
        async def later(audio: File) -> int:
            return audio.size

        self.tasks: dict[str, Any] = {"analyse": analyse, "later": later}
        jobs = Jobs(lane, user=user_of)
        self.saving = asyncio.Event()
        self.app = FastAPI()
        self.app.add_exception_handler(SidelaneError, problem_handler)
        self.app.include_router(jobs.router, prefix="/jobs")
        self.app.include_router(jobs.batches, prefix="/batches")
        self.app.include_router(jobs.files, prefix="/files")
        checked = APIRouter(route_class=jobs.route)
        for router, path in ((self.app.router, "plain"), (checked, "checked")):
            self._add_routes(router, path, Annotated[Responder, Depends(jobs.respond)])
        self.app.include_router(checked)

    def _add_routes(self, router: APIRouter, path: str, respond_type: Any) -> None:
        lane, tasks, saving = self.lane, self.tasks, self.saving

        @router.post(f"/{path}/form/{{what}}")
        async def form(what: str, file: UploadFile, respond: respond_type) -> Response:
            audio = await lane.files.save(file, max_bytes=MAX_BYTES, types=("audio/mpeg",))
            return await submit(what, audio, respond)

        @router.post(f"/{path}/stream/{{what}}")
        async def stream(what: str, request: Request, respond: respond_type) -> Response:
            saving.set()
            audio = await lane.files.save(
                request.stream(), max_bytes=MAX_BYTES, type="audio/mpeg", types=("audio/mpeg",)
            )
            return await submit(what, audio, respond)

        @router.post(f"/{path}/put/{{upload}}/{{what}}")
        async def put(what: str, upload: str, respond: respond_type) -> Response:
            return await submit(what, await lane.files.uploaded(upload), respond)

        async def submit(what: str, audio: File, respond: Responder) -> Response:
            match what:
                case "wrong-arguments":
                    return await respond(tasks["analyse"].call(audio, times="many"))
                case "no-such-thing":
                    raise HTTPException(404, "There is no such thing.")
                case "broken":
                    raise RuntimeError
                case "many":
                    return await respond.many(
                        [tasks["analyse"].call(audio), tasks["analyse"].call(audio, times="many")]
                    )
                case _:
                    return await respond(tasks[what].call(audio))


@pytest.fixture
def service(tmp_path: Path) -> UploadService:
    return UploadService(tmp_path)


@pytest.fixture
async def client(service: UploadService) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=service.app, raise_app_exceptions=False)
    async with service.lane.open(), httpx2.AsyncClient(transport=transport, base_url="http://uploads") as client:
        yield client


def sent(content: bytes, type_: str = "audio/mpeg") -> dict[str, tuple[str, bytes, str]]:
    return {"file": ("a.mp3", content, type_)}


async def upload_by_url(service: UploadService, client: httpx2.AsyncClient) -> str:
    upload = await service.lane.files.upload_url(name="a.mp3", type="audio/mpeg", max_bytes=MAX_BYTES)
    assert (await client.put(upload.url, content=CONTENT)).status_code == 204
    return upload.id


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("headers", "status"), REFUSED_BY_HEADERS)
async def test_files_of_a_request_without_a_user_or_with_malformed_headers_are_removed(
    service: UploadService, client: httpx2.AsyncClient, path: str, headers: dict[str, str], status: int
) -> None:
    answers = [
        await client.post(f"/{path}/form/analyse", files=sent(CONTENT), headers=headers),
        await client.post(f"/{path}/stream/analyse", content=CONTENT, headers=headers),
    ]
    for answer in answers:
        assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert await everything(service.lane.files) == []


@pytest.mark.parametrize(("headers", "status"), REFUSED_BY_HEADERS)
@pytest.mark.parametrize("kind", ["form", "stream"])
async def test_checked_route_refuses_such_a_request_before_it_reads_the_body(
    client: httpx2.AsyncClient, kind: str, headers: dict[str, str], status: int
) -> None:
    read: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        read.append(CONTENT)
        yield CONTENT

    typed = {**headers, "Content-Type": "multipart/form-data; boundary=b"}
    answer = await client.post(f"/checked/{kind}/analyse", content=body(), headers=typed)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert read == []


async def test_checked_route_uses_dependency_overrides(service: UploadService, client: httpx2.AsyncClient) -> None:
    service.app.dependency_overrides[user_of] = lambda: "ann"
    assert (await client.post("/checked/form/analyse", files=sent(CONTENT))).status_code == 202


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    ("kind", "what", "content", "type_", "status"),
    [
        ("form", "analyse", TOO_LARGE, "audio/mpeg", 413),
        ("form", "analyse", CONTENT, "video/mp4", 415),
        ("form", "wrong-arguments", CONTENT, "audio/mpeg", 422),
        ("form", "no-such-thing", CONTENT, "audio/mpeg", 404),
        ("form", "broken", CONTENT, "audio/mpeg", 500),
        ("form", "many", CONTENT, "audio/mpeg", 422),
        ("stream", "analyse", TOO_LARGE, "", 413),
        ("stream", "wrong-arguments", CONTENT, "", 422),
        ("stream", "many", CONTENT, "", 422),
    ],
)
async def test_request_refused_after_its_body_was_read_leaves_no_file(
    service: UploadService,
    client: httpx2.AsyncClient,
    path: str,
    kind: str,
    what: str,
    content: bytes,
    type_: str,
    status: int,
) -> None:
    body: Any = {"files": sent(content, type_)} if kind == "form" else {"content": content}
    answer = await client.post(f"/{path}/{kind}/{what}", headers=ANN, **body)
    assert answer.status_code == status
    assert await everything(service.lane.files) == []


@pytest.mark.parametrize("path", PATHS)
async def test_malformed_form_leaves_no_file(service: UploadService, client: httpx2.AsyncClient, path: str) -> None:
    headers = {**ANN, "Content-Type": "multipart/form-data; boundary=b"}
    for content in (b"nonsense", b"--b\r\n\r\n\r\n"):
        answer = await client.post(f"/{path}/form/analyse", content=content, headers=headers)
        assert answer.status_code in (400, 422)
    assert await everything(service.lane.files) == []


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("what", "status"), [("analyse", 429), ("later", 503)])
async def test_refusal_by_limit_or_full_queue_removes_only_the_refused_file(
    service: UploadService, client: httpx2.AsyncClient, path: str, what: str, status: int
) -> None:
    first = await client.post(f"/{path}/form/{what}", files=sent(CONTENT), headers=ANN)
    kept = await everything(service.lane.files)
    second = await client.post(f"/{path}/form/{what}", files=sent(CONTENT), headers=ANN)
    assert (first.status_code, second.status_code) == (202, status)
    assert await everything(service.lane.files) == kept


@pytest.mark.parametrize("path", PATHS)
async def test_file_uploaded_by_url_is_removed_if_its_request_is_refused(
    service: UploadService, client: httpx2.AsyncClient, path: str
) -> None:
    for what, headers, status in (("analyse", {}, 403), ("wrong-arguments", ANN, 422), ("no-such-thing", ANN, 404)):
        upload = await upload_by_url(service, client)
        assert (await client.post(f"/{path}/put/{upload}/{what}", headers=headers)).status_code == status
        if (path, status) == ("checked", 403):  # the request did not use the upload, so another request may
            assert (await client.post(f"/{path}/put/{upload}/broken", headers=ANN)).status_code == 500
        assert await everything(service.lane.files) == []


async def test_resumed_stream_leaves_no_second_file(service: UploadService, client: httpx2.AsyncClient) -> None:
    job = (await client.post("/plain/form/later", files=sent(CONTENT), headers=ANN)).json()
    await client.post(job["links"]["cancel"], headers=ANN)
    kept = await everything(service.lane.files)
    for job_id, status in ((job["id"], 200), (new_id(), 404)):
        headers = {**ANN, "Last-Event-ID": f"{job_id}:1:0"}
        answer = await client.post("/plain/form/later", files=sent(CONTENT), headers=headers)
        assert answer.status_code == status
    assert await everything(service.lane.files) == kept


async def test_refusal_keeps_files_that_existed_before_the_request(
    service: UploadService, client: httpx2.AsyncClient
) -> None:
    file = await service.lane.files.save(CONTENT)
    assert (await client.post("/plain/form/wrong-arguments", files=sent(CONTENT), headers=ANN)).status_code == 422
    assert await file.read() == CONTENT


# --- disconnects ----------------------------------------------------------------------------------------------------


def scope(path: str) -> dict[str, Any]:
    return {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": path, "raw_path": path.encode(), "query_string": b"", "root_path": "", "server": ("uploads", 80),
        "client": ("c", 1), "headers": [(b"x-user", b"ann"), (b"content-type", b"audio/mpeg")],
    }  # fmt: skip


async def ignore(message: Any) -> None:
    """Discard a message: the client has disconnected."""


@pytest.mark.usefixtures("client")
@pytest.mark.parametrize("path", PATHS)
async def test_disconnect_during_an_upload_leaves_no_file_and_is_no_error(service: UploadService, path: str) -> None:
    messages = iter([
        *({"type": "http.request", "body": b"x" * 100_000, "more_body": True} for _ in range(2)),
        {"type": "http.disconnect"},
    ])  # fmt: skip

    async def receive() -> Any:
        return next(messages)

    await service.app(scope(f"/{path}/stream/analyse"), receive, ignore)  # a server logs what this raises
    assert await everything(service.lane.files) == []


@pytest.mark.usefixtures("client")
async def test_request_cancelled_at_any_time_leaves_no_file_without_a_job(service: UploadService) -> None:
    """A server cancels requests when it shuts down, and a middleware may do so on a disconnect."""
    task = service.tasks["later"]
    for iterations in (*range(0, 60, 3), *range(60, 400, 20)):
        messages = iter([{"type": "http.request", "body": CONTENT, "more_body": False}])

        async def receive(messages: Any = messages) -> Any:
            return next(messages, {"type": "http.disconnect"})

        others = asyncio.all_tasks()
        request = asyncio.create_task(service.app(scope("/plain/stream/later"), receive, ignore))
        for _ in range(iterations):
            await asyncio.sleep(0)
        request.cancel()
        with suppress(asyncio.CancelledError):
            await request
        await wait_for(asyncio.all_tasks() - others)
        found = await service.lane.client.store.list_jobs(Query(task=task.name, states=frozenset({State.QUEUED})))
        assert len([path for path in await everything(service.lane.files) if path.startswith("files/")]) == len(found)
        await service.lane.client.store.cancel([each.id for each in found])
        await service.lane.client.store.remove([each.id for each in found])
        for each in found:
            await service.lane.files.references.release(each.id, await service.lane.files.references.files_of(each.id))
        assert await everything(service.lane.files) == []


async def wait_for(tasks: set[asyncio.Task[Any]]) -> None:
    """Wait for the tasks that a request has started."""
    if tasks:
        _, unfinished = await asyncio.wait(tasks, timeout=10)
        assert unfinished == set()
