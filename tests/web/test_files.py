"""Files over HTTP: an upload that becomes a job, and links to files that lie in a folder."""

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

from sidelane import Concurrent, Context, File, Sidelane, SidelaneError, Upload, Use
from sidelane.data.files import Files
from sidelane.web import Jobs, Responder, problem_handler
from tests.web.clients import frames_of

RATE = 8000


def tone(hertz: float, seconds: float = 0.5) -> bytes:
    """Make a WAV file of one tone."""
    samples = [int(20_000 * math.sin(2 * math.pi * hertz * number / RATE)) for number in range(int(RATE * seconds))]
    made = io.BytesIO()
    with wave.open(made, "wb") as audio:
        audio.setparams((1, 2, RATE, 0, "NONE", "not compressed"))
        audio.writeframes(struct.pack(f"<{len(samples)}h", *samples))
    return made.getvalue()


def pitch(path: Path) -> int:
    """Tell the pitch of a tone, by how often it passes through zero."""
    with wave.open(str(path)) as audio:
        count = audio.getnframes()
        samples = struct.unpack(f"<{count}h", audio.readframes(count))
    crossings: int = sum((one < 0) != (two < 0) for one, two in pairwise(samples))
    hertz: int = round((crossings + 1) / 2 / (count / RATE))
    return hertz


class Studio:
    """A service that takes audio, and analyses it."""

    def __init__(self, folder: Path) -> None:
        self.lane = lane = Sidelane(
            store=f"sqlite:///{folder / 'jobs.db'}",
            settings={"lease": 2.0, "files": str(folder / "files"), "files_url": "http://studio/files"},
        )
        self.gate = asyncio.Event()
        self.gate.set()

        @lane.task(limits=[Concurrent(1, per="user")])
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
def studio(tmp_path: Path) -> Studio:
    studio = Studio(tmp_path)
    jobs = Jobs(studio.lane, user=user_of)
    Respond = Annotated[Responder, Depends(jobs.respond)]  # noqa: N806 - a type of this service
    app = studio.app
    app.include_router(jobs.router, prefix="/jobs")
    app.include_router(jobs.files, prefix="/files")
    app.add_exception_handler(SidelaneError, problem_handler)

    @app.post("/{token_id}/upload-audio", responses=jobs.responses(studio.analyse))
    async def upload_audio(token_id: str, file: UploadFile, respond: Respond) -> Response:
        audio = await studio.lane.files.save(file, max_bytes=100_000, types=("audio/wav",))
        return await respond(studio.analyse.options(labels={"token": token_id}).call(audio))

    @app.post("/uploads")
    async def upload_url() -> Upload:
        return await studio.lane.files.upload_url(name="a.wav", type="audio/wav", types=("audio/*",), max_bytes=100_000)

    @app.post("/uploads/{upload_id}")
    async def uploaded(upload_id: str, respond: Respond) -> Response:
        return await respond(studio.analyse.call(await studio.lane.files.uploaded(upload_id)))

    @app.post("/again")
    async def again(audio: Annotated[File, Body()], respond: Respond) -> Response:
        return await respond(studio.analyse.call(audio))

    @app.post("/echo")
    async def echo(audio: Annotated[File, Body()]) -> dict[str, File]:
        return {"audio": audio}

    return studio


@pytest.fixture
async def client(studio: Studio) -> AsyncIterator[httpx2.AsyncClient]:
    transport = httpx2.ASGITransport(app=studio.app)
    async with (
        studio.lane.running(workers=1),
        httpx2.AsyncClient(transport=transport, base_url="http://studio") as client,
    ):
        yield client


def sent(content: bytes, type_: str = "audio/wav") -> dict[str, tuple[str, bytes, str]]:
    return {"file": ("대답.wav", content, type_)}


async def left(files: Files) -> list[str]:
    return [found.path async for found in files.objects.list("files")]


async def test_uploaded_audio_becomes_a_job_that_tells_its_progress(studio: Studio, client: httpx2.AsyncClient) -> None:
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
    ids=["too large", "no audio", "another type"],
)
async def test_an_upload_that_cannot_be_is_a_problem_and_leaves_nothing(
    studio: Studio, client: httpx2.AsyncClient, content: bytes, type_: str, status: int
) -> None:
    answer = await client.post("/t/upload-audio", files=sent(content, type_))
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert answer.json()["detail"].startswith("The file ")
    assert await left(studio.lane.files) == []


async def test_an_upload_over_a_limit_leaves_no_file(studio: Studio, client: httpx2.AsyncClient) -> None:
    studio.gate.clear()
    assert (await client.post("/t/upload-audio", files=sent(tone(440)))).status_code == 202
    assert (await client.post("/t/upload-audio", files=sent(tone(220)))).status_code == 429
    assert len(await left(studio.lane.files)) == 1
    studio.gate.set()


async def test_an_upload_sent_again_under_its_key_is_the_same_job(studio: Studio, client: httpx2.AsyncClient) -> None:
    key = {"Idempotency-Key": "answer-1"}
    first = await client.post("/t/upload-audio", files=sent(tone(440)), headers=key)
    again = await client.post("/t/upload-audio", files=sent(tone(440)), headers=key)
    assert (first.status_code, again.status_code) == (202, 202)
    assert again.json()["id"] == first.json()["id"]
    other = await client.post("/t/upload-audio", files=sent(tone(880)), headers=key)
    assert other.status_code == 422
    assert len(await left(studio.lane.files)) == 1
    assert (await client.get(first.json()["links"]["result"], headers={"Prefer": "wait=10"})).status_code in (200, 202)


async def test_a_client_puts_a_file_past_the_endpoint(studio: Studio, client: httpx2.AsyncClient) -> None:
    upload = (await client.post("/uploads")).json()
    assert upload["url"].startswith("http://studio/files/")
    assert (await client.post(f"/uploads/{upload['id']}")).status_code == 404  # nothing is there yet
    put = await client.request(upload["method"], upload["url"], headers=upload["headers"], content=tone(220))
    assert put.status_code == 204
    accepted = await client.post(f"/uploads/{upload['id']}", headers={"Prefer": "wait=20"})
    assert (accepted.status_code, accepted.json()) == (200, 220)
    # a link to put a file is none to get it, and cannot change it any more
    assert (await client.get(upload["url"])).status_code == 404
    await client.put(upload["url"], content=b"something else")
    again = await client.post(f"/uploads/{upload['id']}", headers={"Prefer": "wait=20", "X-User": "bob"})
    assert again.json() == 220


@pytest.mark.parametrize("type_", ["소리", "text/html\r\nX: y", "audio/wav;\rname", "audio/wav; name=소리"])
async def test_a_type_that_is_none_does_not_reach_the_headers(
    studio: Studio, client: httpx2.AsyncClient, type_: str
) -> None:
    file = await studio.lane.files.save(b"x", type=type_)
    for each in (file, file.model_copy(update={"type": type_})):
        got = await client.get(await studio.lane.files.url(each))
        assert (got.status_code, got.headers["content-type"]) == (200, "application/octet-stream")


async def test_nothing_is_put_where_its_file_is_gone(studio: Studio, client: httpx2.AsyncClient) -> None:
    upload = (await client.post("/uploads")).json()
    await studio.lane.files.holds.remove(upload["id"].rpartition(":")[2])
    assert (await client.put(upload["url"], content=b"x")).status_code == 404


@pytest.mark.parametrize("told", [True, False], ids=["it says its length", "it does not"])
async def test_what_is_put_is_held_to_its_limit(studio: Studio, client: httpx2.AsyncClient, told: bool) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b"x" * 10_000

    upload = (await client.post("/uploads")).json()
    put = await client.put(upload["url"], content=b"x" * 200_000 if told else pieces())
    assert put.status_code == 413
    assert [found.path async for found in studio.lane.files.objects.list("uploads") if "content" in found.path] == []


async def test_a_file_in_a_folder_is_downloaded_by_its_link(studio: Studio, client: httpx2.AsyncClient) -> None:
    file = await studio.lane.files.save(b"<script>0123456789</script>", name="말하기.html", type="text/html")
    url = await file.url(expires=60)
    whole = await client.get(url)
    assert (whole.status_code, whole.content) == (200, b"<script>0123456789</script>")
    assert whole.headers["content-disposition"].startswith("attachment; filename*=utf-8''%EB%A7%90")
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = await client.get(url, headers={"Range": "bytes=8-11"})
    assert (part.status_code, part.content) == (206, b"0123")
    assert (await client.head(url)).headers["content-length"] == "27"
    await studio.lane.files.holds.remove(file.id.rpartition(":")[2])
    assert (await client.get(url)).status_code == 404


async def test_links_that_are_forged_or_over_open_nothing(
    studio: Studio, client: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = await studio.lane.files.save(b"secret")
    url = await file.url(expires=60)
    text, _, signature = url.rpartition("/")[2].partition(".")
    changed = "B" if signature.startswith("A") else "A"
    other = await (await studio.lane.files.save(b"mine")).url()
    forged = (
        f"{text}.{changed}{signature[1:]}", f"{text}.", text, ".", f"{other.rpartition('/')[2].partition('.')[0]}.{signature}",
        "%00.x", "é.é",
    )  # fmt: skip
    for token in forged:
        assert (await client.get(f"/files/{token}")).status_code == 404
        assert (await client.put(f"/files/{token}", content=b"x")).status_code == 404
    assert (await client.put(url, content=b"x")).status_code == 404
    monkeypatch.setattr("sidelane.data.links.time.time", lambda: 4e9)
    assert (await client.get(url)).status_code == 404


async def test_a_file_in_a_request_is_the_one_that_is_kept(studio: Studio, client: httpx2.AsyncClient) -> None:
    file = await studio.lane.files.save(tone(330), name="a.wav")
    document = json.loads(file.model_dump_json())
    assert (await client.post("/echo", json=document)).json() == {"audio": document}
    again = await client.post("/again", json=document, headers={"Prefer": "wait=20"})
    assert (again.status_code, again.json()) == (200, 330)
    for wrong, status in (({"file": "sidelane-file:" + "0" * 32}, 404), ({"file": "../../etc/passwd"}, 422)):
        assert (await client.post("/again", json={**document, **wrong})).status_code == status


async def test_the_routes_of_files_are_described(client: httpx2.AsyncClient) -> None:
    paths = (await client.get("/openapi.json")).json()["paths"]["/files/{token}"]
    assert set(paths) == {"get", "put"}
    assert {"404", "413"} <= set(paths["put"]["responses"])
