"""Files over HTTP: uploads that become jobs, and signed URLs of files in a folder."""

import asyncio
import io
import json
import math
import struct
import wave
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated

import httpx2
import pytest
from fastapi import Body, Depends, FastAPI, Request, Response, UploadFile

from sidelane import ConcurrencyLimit, Context, File, Sidelane, SidelaneError, Upload, Use
from sidelane.files.files import Files
from sidelane.web import Jobs, Responder, problem_handler
from tests.web.clients import frames_of

RATE = 8000


def tone(hertz: float, seconds: float = 0.5) -> bytes:
    """Return a WAV file of one tone."""
    samples = [int(20_000 * math.sin(2 * math.pi * hertz * number / RATE)) for number in range(int(RATE * seconds))]
    made = io.BytesIO()
    with wave.open(made, "wb") as audio:
        audio.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        audio.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return made.getvalue()


def pitch(path: Path) -> int:
    """Return the frequency of a tone in hertz, by its zero crossings."""
    with wave.open(str(path)) as audio:
        count = audio.getnframes()
        samples = struct.unpack(f"<{count}h", audio.readframes(count))
    crossings: int = sum((one < 0) != (two < 0) for one, two in pairwise(samples))
    hertz: int = round((crossings + 1) / 2 / (count / RATE))
    return hertz


class AudioService:
    """A service that analyses uploaded audio."""

    def __init__(self, folder: Path) -> None:
        self.lane = lane = Sidelane(
            store=f"sqlite:///{folder / 'jobs.db'}",
            settings={"lease_duration": 2.0, "file_storage": str(folder / "files"), "files_url": "http://audio/files"},
        )
        self.gate = asyncio.Event()
        self.gate.set()

        @lane.task(limits=[ConcurrencyLimit(1, per="user")])
        async def analyse(audio: File, *, ctx: Context = Use(Context)) -> int:
            await self.gate.wait()
            for percent in (10, 30, 40, 50, 70):
                await ctx.progress(percent, f"{percent} %")
            async with audio.path() as path:
                found = await asyncio.to_thread(pitch, path)
            await ctx.progress(100, "done")
            return found

        self.analyse = analyse
        self.app = FastAPI()


def user_of(request: Request) -> str:
    return request.headers.get("X-User", "ann")


@pytest.fixture
def service(tmp_path: Path) -> AudioService:
    service = AudioService(tmp_path)
    jobs = Jobs(service.lane, user=user_of)
    Respond = Annotated[Responder, Depends(jobs.respond)]  # noqa: N806 - a type of this service
    app = service.app
    app.include_router(jobs.router, prefix="/jobs")
    app.include_router(jobs.files, prefix="/files")
    app.add_exception_handler(SidelaneError, problem_handler)

    @app.post("/{token_id}/upload-audio", responses=jobs.responses(service.analyse))
    async def upload_audio(token_id: str, file: UploadFile, respond: Respond) -> Response:
        audio = await service.lane.files.save(file, max_bytes=100_000, types=("audio/wav",))
        return await respond(service.analyse.options(labels={"token": token_id}).call(audio))

    @app.post("/uploads")
    async def upload_url() -> Upload:
        return await service.lane.files.upload_url(
            name="a.wav", type="audio/wav", types=("audio/*",), max_bytes=100_000
        )

    @app.post("/uploads/{upload_id}")
    async def uploaded(upload_id: str, respond: Respond) -> Response:
        return await respond(service.analyse.call(await service.lane.files.uploaded(upload_id)))

    @app.post("/again")
    async def again(audio: Annotated[File, Body()], respond: Respond) -> Response:
        return await respond(service.analyse.call(audio))

    @app.post("/echo")
    async def echo(audio: Annotated[File, Body()]) -> dict[str, File]:
        return {"audio": audio}

    return service


@pytest.fixture
async def client(service: AudioService) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=service.app)
    async with (
        service.lane.open(workers=1),
        httpx2.AsyncClient(transport=transport, base_url="http://audio") as client,
    ):
        yield client


def sent(content: bytes, type_: str = "audio/wav") -> dict[str, tuple[str, bytes, str]]:
    return {"file": ("대답.wav", content, type_)}


async def stored_files(files: Files) -> list[str]:
    return [found.path async for found in files.objects.list("files")]


async def test_uploaded_audio_becomes_a_job_that_streams_its_progress(
    service: AudioService, client: httpx2.AsyncClient
) -> None:
    accepted = await client.post("/t-17/upload-audio", files=sent(tone(440)))
    assert accepted.status_code == 202
    job = accepted.json()
    stream = frames_of((await client.get(job["links"]["events"])).text)
    progress = [frame.data for frame in stream if frame.event == "progress"]
    assert [each["percent"] for each in progress] == [10, 30, 40, 50, 70, 100]
    assert stream[-1].data["result"] == 440
    assert (await client.get(job["links"]["result"])).json() == 440
    assert (await client.get(job["links"]["self"])).json()["progress"] == {"percent": 100, "message": "done"}


@pytest.mark.parametrize(
    ("content", "type_", "status"),
    [(tone(440, 10.0), "audio/wav", 413), (b"<html>", "audio/wav", 415), (tone(440), "video/mp4", 415)],
    ids=["too large", "not audio", "wrong type"],
)
async def test_invalid_upload_is_refused_and_leaves_no_file(
    service: AudioService, client: httpx2.AsyncClient, content: bytes, type_: str, status: int
) -> None:
    answer = await client.post("/t/upload-audio", files=sent(content, type_))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["detail"].startswith("The file ")
    assert await stored_files(service.lane.files) == []


async def test_upload_refused_by_a_limit_leaves_no_file(service: AudioService, client: httpx2.AsyncClient) -> None:
    service.gate.clear()
    assert (await client.post("/t/upload-audio", files=sent(tone(440)))).status_code == 202
    assert (await client.post("/t/upload-audio", files=sent(tone(220)))).status_code == 429
    assert len(await stored_files(service.lane.files)) == 1
    service.gate.set()


async def test_repeated_upload_with_the_same_key_is_the_same_job(
    service: AudioService, client: httpx2.AsyncClient
) -> None:
    key = {"Idempotency-Key": "answer-1"}
    first = await client.post("/t/upload-audio", files=sent(tone(440)), headers=key)
    again = await client.post("/t/upload-audio", files=sent(tone(440)), headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    other = await client.post("/t/upload-audio", files=sent(tone(880)), headers=key)
    assert other.status_code == 422
    assert len(await stored_files(service.lane.files)) == 1
    assert (await client.get(first.json()["links"]["result"], headers={"Prefer": "wait=10"})).status_code in (200, 202)


async def test_client_uploads_a_file_by_a_signed_url(service: AudioService, client: httpx2.AsyncClient) -> None:
    upload = (await client.post("/uploads")).json()
    assert upload["url"].startswith("http://audio/files/")
    assert (await client.post(f"/uploads/{upload['id']}")).status_code == 404  # nothing was uploaded yet
    put = await client.request(upload["method"], upload["url"], headers=upload["headers"], content=tone(220))
    assert put.status_code == 204
    accepted = await client.post(f"/uploads/{upload['id']}", headers={"Prefer": "wait=20"})
    assert (accepted.status_code, accepted.json()) == (200, 220)
    # an upload URL cannot download the file, nor change it after its upload was used
    assert (await client.get(upload["url"])).status_code == 404
    await client.put(upload["url"], content=b"something else")
    again = await client.post(f"/uploads/{upload['id']}", headers={"Prefer": "wait=20", "X-User": "bob"})
    assert again.json() == 220


@pytest.mark.parametrize("type_", ["소리", "text/html\r\nX: y", "audio/wav;\rname", "audio/wav; name=소리"])
async def test_invalid_media_type_does_not_reach_the_headers(
    service: AudioService, client: httpx2.AsyncClient, type_: str
) -> None:
    file = await service.lane.files.save(b"x", type=type_)
    for each in (file, file.model_copy(update={"type": type_})):
        got = await client.get(await service.lane.files.url(each))
        assert (got.status_code, got.headers["content-type"]) == (200, "application/octet-stream")


async def test_upload_url_of_a_removed_file_is_404(service: AudioService, client: httpx2.AsyncClient) -> None:
    upload = (await client.post("/uploads")).json()
    await service.lane.files.references.remove(upload["id"].rpartition(":")[2])
    assert (await client.put(upload["url"], content=b"x")).status_code == 404


@pytest.mark.parametrize("with_length", [True, False], ids=["with Content-Length", "without Content-Length"])
async def test_upload_by_url_over_its_limit_is_413(
    service: AudioService, client: httpx2.AsyncClient, with_length: bool
) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 10_000

    upload = (await client.post("/uploads")).json()
    put = await client.put(upload["url"], content=b"x" * 200_000 if with_length else chunks())
    assert put.status_code == 413
    assert [found.path async for found in service.lane.files.objects.list("uploads") if "content" in found.path] == []


async def test_file_in_a_folder_is_downloaded_by_its_url(service: AudioService, client: httpx2.AsyncClient) -> None:
    file = await service.lane.files.save(b"<script>0123456789</script>", name="말하기.html", type="text/html")
    url = await file.url(expires=60)
    whole = await client.get(url)
    assert (whole.status_code, whole.content) == (200, b"<script>0123456789</script>")
    assert whole.headers["content-disposition"].startswith("attachment; filename*=utf-8''%EB%A7%90")
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = await client.get(url, headers={"Range": "bytes=8-11"})
    assert (part.status_code, part.content) == (206, b"0123")
    many = await client.get(url, headers={"Range": "bytes=" + ",".join(f"{at}-{at}" for at in range(1000))})
    assert (many.status_code, many.content) == (200, whole.content)
    assert (await client.head(url)).headers["content-length"] == "27"
    await service.lane.files.references.remove(file.id.rpartition(":")[2])
    assert (await client.get(url)).status_code == 404


async def test_forged_or_expired_url_is_404(
    service: AudioService, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await service.lane.files.save(b"secret")
    url = await file.url(expires=60)
    text, _, signature = url.rpartition("/")[2].partition(".")
    changed = "B" if signature.startswith("A") else "A"
    other = await (await service.lane.files.save(b"mine")).url()
    forged = (
        f"{text}.{changed}{signature[1:]}", f"{text}.", text, ".", f"{other.rpartition('/')[2].partition('.')[0]}.{signature}",
        "%00.x", "é.é",
    )  # fmt: skip
    for token in forged:
        assert (await client.get(f"/files/{token}")).status_code == 404
        assert (await client.put(f"/files/{token}", content=b"x")).status_code == 404
    assert (await client.put(url, content=b"x")).status_code == 404
    monkeypatch.setattr("sidelane.files.signed_urls.time.time", lambda: 4e9)
    assert (await client.get(url)).status_code == 404


async def test_file_in_a_request_body_refers_to_the_stored_file(
    service: AudioService, client: httpx2.AsyncClient
) -> None:
    file = await service.lane.files.save(tone(330), name="a.wav")
    document = json.loads(file.model_dump_json())
    assert (await client.post("/echo", json=document)).json() == {"audio": document}
    again = await client.post("/again", json=document, headers={"Prefer": "wait=20"})
    assert (again.status_code, again.json()) == (200, 330)
    for invalid, status in (({"file": "sidelane-file:" + "0" * 32}, 404), ({"file": "../../etc/passwd"}, 422)):
        assert (await client.post("/again", json={**document, **invalid})).status_code == status


async def test_file_routes_are_in_the_openapi_document(client: httpx2.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]["/files/{token}"]
    assert set(paths) == {"get", "put"}
    assert {"404", "413"} <= set(paths["put"]["responses"])
