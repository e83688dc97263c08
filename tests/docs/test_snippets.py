"""Snippets of the pages about the shop, limits, queues, chains, batches, callbacks, messages and files run as written."""

import ast
import json
import re
import sys
from collections.abc import AsyncIterator, Iterator
from importlib import import_module
from inspect import iscoroutine
from pathlib import Path
from typing import Annotated, Any

import httpx2
import pytest
from fastapi import Depends, FastAPI, Response, UploadFile
from pydantic import BaseModel

import sidelane
from sidelane import FinishedBatch, JobError, Message, PermanentFailure, Queue, Sidelane, State
from sidelane.testing import harness
from sidelane.transports import cloudevents
from sidelane.web import Jobs, Responder

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"

YOURS = {
    "shop/__init__.py": "",
    "shop/models.py": """
from collections.abc import AsyncIterator, Iterator

from pydantic import BaseModel

from shop.lane import lane

class Question(BaseModel):
    session: str

@lane.resource
async def openai() -> object:
    return object()

async def complete(llm: object, question: Question) -> AsyncIterator[str]:
    yield question.session
""",
    "shop/users.py": """
from fastapi import Request

def current_user_id(request: Request) -> str:
    return request.headers["X-User"]
""",
}
"""The modules that the page about the shop leaves to the reader."""


class Question(BaseModel):
    session: str


class Page(BaseModel):
    number: int


class Snippets:
    """The blocks of Python of one page, run one by one among the names that the page takes for granted."""

    def __init__(self, page: str, lane: Sidelane, **names: Any) -> None:
        self._blocks = re.findall(r"```python\n(.*?)```", (DOCS / page).read_text("utf-8"), re.DOTALL)
        self.names: dict[str, Any] = {name: getattr(sidelane, name) for name in sidelane.__all__}
        self.names |= {"lane": lane, "harness": harness, "AsyncIterator": AsyncIterator, "Question": Question, **names}

    async def run(self, containing: str) -> None:
        """Run the one block that contains this, with an `await` wherever it has one."""
        (block,) = [block for block in self._blocks if containing in block]
        outcome = eval(compile(block, "snippet", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT), self.names)  # noqa: S307
        if iscoroutine(outcome):
            await outcome

    def __getitem__(self, name: str) -> Any:
        return self.names[name]


@pytest.fixture
def no_shop() -> Iterator[None]:
    """Other tests have a package `shop` too: none is there before, and none is left behind."""

    def forget() -> None:
        for name in [name for name in sys.modules if name.partition(".")[0] == "shop"]:
            del sys.modules[name]

    forget()
    yield
    forget()


@pytest.mark.row("R5")
@pytest.mark.usefixtures("no_shop")
async def test_shop_page_rejects_a_second_question_and_answers_the_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "shop.md").read_text("utf-8"), re.DOTALL)
    pieces = re.split(r"(?m)^# (shop/\w+\.py)$", block)
    files = {**YOURS, **dict(zip(pieces[1::2], pieces[2::2], strict=True))}
    (tmp_path / "shop").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("SIDELANE_STORE", f"sqlite:///{tmp_path / 'jobs.db'}")
    main = import_module("shop.main")
    transport = httpx2.ASGITransport(app=main.app)
    headers = {"X-User": "ann"}
    async with harness(main.lane) as t, httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
        asked = [await client.post("/chat", json={"session": "s"}, headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in asked] == [202, 429]
        await t.drain()
        result = await client.get(asked[0].json()["links"]["result"], headers=headers)
        assert (result.status_code, result.json()) == (200, "s")


@pytest.fixture
def lane(tmp_path: Path) -> Sidelane:
    return Sidelane(queues=[Queue("alarms")], store=f"sqlite:///{tmp_path / 'jobs.db'}")


@pytest.fixture
def mails() -> list[str]:
    """What the pages' `mail` and `page_someone` were told."""
    return []


async def test_metrics_page_runs(lane: Sidelane) -> None:
    page = Snippets("metrics.md", lane, current_user_id=lambda: "ann")
    await page.run("jobs.metrics")
    transport = httpx2.ASGITransport(app=page["app"])
    async with harness(lane), httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
        answer = await client.get("/metrics")
    assert answer.status_code == 200
    assert "sidelane_store_jobs 0.0" in answer.text


async def test_limits_page_runs(lane: Sidelane, capsys: pytest.CaptureFixture[str]) -> None:
    page = Snippets("limits.md", lane, question=Question(session="s"))
    await page.run("def by_session")
    assert [limit.key for limit in page["answer"].options(user="u7").call(page["question"]).spec().limits] == [
        "u7",
        "s",
    ]
    async with harness(lane):
        await page.run("except LimitReached")
        assert capsys.readouterr().out == ""
        await page.run("except LimitReached")
    assert capsys.readouterr().out == "answer-per-user 5.0\n"


async def test_queues_page_runs(lane: Sidelane) -> None:
    page = Snippets("queues.md", lane)
    await page.run("weight=4")
    assert list(page["lane"].queues) == ["chat", "feedback", "gpu", "default"]


async def test_attention_page_runs(lane: Sidelane) -> None:
    page = Snippets("attention.md", lane)
    await page.run("target_wait=60")
    assert page["lane"].queues["feedback"].target_wait == 60


async def test_transports_page_runs(lane: Sidelane) -> None:
    page = Snippets("transports.md", lane)
    await page.run("jobs = Sqs")
    assert page["results"].dead_letters == "results-unusable"


class AnalyseIn(BaseModel):
    audio: str


class Report(BaseModel):
    score: float


async def test_external_tasks_page_runs(tmp_path: Path) -> None:
    lanes = [Sidelane(store=f"sqlite:///{tmp_path / name}", settings={"jobs_url": "http://x"}) for name in "ab"]
    names = {"AnalyseIn": AnalyseIn, "Report": Report, "json": json, "app": FastAPI()}
    page, own = (Snippets("external-tasks.md", lane, **names) for lane in lanes)
    await page.run("timeout=600, retry")
    await page.run("async with harness(lane)")
    await page.run("@app.post")
    async with harness(lanes[0]) as t:
        job = await page["analyse"].submit(AnalyseIn(audio="7.wav"))
        await t.drain()
        await page["analysed"](job.id, Report(score=1))
        assert await job.result(timeout=0) == Report(score=1)
    async with harness(lanes[1]) as t:
        await own.run("def decode")
        await t.drain()
        (sent,) = await t.dispatched(own["analyse"])
    assert own["encode"](sent) == {"recordingId": "recording-7", "file": "s3://recordings/7.wav"}
    told = [
        {"kind": "heartbeat"},
        {"kind": "", "recordingId": "a", "percent": 3},
        {"kind": "", "recordingId": "a", "score": 1},
    ]
    nothing, progress, end = (own["decode"](Message(body=json.dumps(body))) for body in told)
    assert (nothing, progress.ends, end.result) == (None, False, {"score": 1})


async def test_chains_page_runs(lane: Sidelane, mails: list[str]) -> None:
    async def mail(text: object) -> None:
        mails.append(str(text))

    async def pages(site: str) -> list[Page]:
        return [Page(number=1), Page(number=2)]

    page = Snippets("chains.md", lane, mail=mail, pages=pages, page_someone=mail)

    @lane.task
    async def publish(article: str, channel: str) -> str:
        return f"{channel}: {article}"

    @lane.task
    async def write(topic: str) -> str:
        if topic == "nothing":
            raise ValueError("no topic")
        return topic

    @lane.task
    async def fetch(page: Page) -> int:
        return page.number

    page.names |= {"publish": publish, "write": write, "fetch": fetch}
    await page.run("async def tell_support")
    await page.run("async def alarm")
    await page.run("async def crawl")
    async with harness(lane) as t:
        await page.run("publish_answer = ")
        await t.drain()
        (published,) = await t.records(publish)
        assert (published.spec.parent, published.result) == (page["job"].id, '"news: Write it up"')
        await write.options(on_failure=page["tell"]).submit("nothing")
        await t.drain()
        assert [mail.partition(" after")[0] for mail in mails if "after" in mail] == ["write failed"]
        assert sum("FinishedJob(" in mail for mail in mails) == 1
        await t.run(page["crawl"].call("example.org"))
        assert [record.result for record in await t.records(fetch)] == ["1", "2"]


async def test_batches_page_runs(lane: Sidelane, mails: list[str]) -> None:
    async def mail(text: str) -> None:
        mails.append(text)

    page = Snippets("batches.md", lane, mail=mail, paths=["a", "b"], customers=["c1", "c2"], month="may")
    await page.run("async def report")

    @lane.task
    async def analyse(path: str) -> str:
        if path == "b":
            raise ValueError(path)
        return path

    @lane.task
    async def bill(customer: str) -> None: ...

    @lane.task
    async def close_month(month: str, end: FinishedBatch) -> str:
        return f"{month}: {end.total}"

    page.names |= {"analyse": analyse, "bill": bill, "close_month": close_month}
    async with lane.open(workers=1):
        await page.run("batch.wait(timeout=600)")
        assert page["record"].state is State.FAILED
        assert isinstance(page["result"], JobError)  # the last one's
        for created in (True, False):
            await page.run("month")
            assert [job.created for job in page["batch"].jobs] == [created, created]
            assert page["batch"].id == "bills-may"
        await page["batch"].wait(timeout=30)
        assert await close_month.job("bills-may.1.0").result(timeout=30) == "may: 2"
        await page["batch"].wait(30)
    assert mails == ["1 of 2 failed"]


async def test_schedules_page_runs(lane: Sidelane) -> None:
    @lane.task
    async def refresh(market: str) -> None: ...

    @lane.task
    async def fetch() -> None: ...

    await Snippets("schedules.md", lane, refresh=refresh, fetch=fetch).run("lane.schedule")
    async with harness(lane) as t:
        await t.advance(31)
        assert len(await t.records(fetch)) in (1, 2)
        assert [record.schedule.name for record in await lane.schedules.list()] == ["prices", "stocks"]


class Feedback(BaseModel):
    member_id: int
    text: str


class Model:
    """The reader's own, which fails where there is nothing to review."""

    async def review(self, text: str) -> str:
        if not text:
            raise PermanentFailure("The model is down.", status=502)
        return f"Good: {text}"


@pytest.mark.row("R12")
async def test_callbacks_page_runs(tmp_path: Path) -> None:
    def lane() -> Sidelane:
        return Sidelane(store=f"sqlite:///{tmp_path / 'jobs.db'}")

    feedback = Feedback(member_id=3, text="…")
    names = {"Feedback": Feedback, "feedback": feedback, "model": Model()}
    first = lane()
    async with harness(first):
        page = Snippets("callbacks.md", first, **names)
        await page.run('MessageCallback(to=Sqs("reviews"))')
        assert [told.to for told in await first.callbacks(page["job"].id)] == [
            "https://be.example.com/ai/feedback",
            "SQS queue reviews",
        ]
    second = lane()
    page = Snippets("callbacks.md", second, **names)
    await page.run("def for_backend")
    async with harness(second) as t:
        jobs = [await page["review"].submit(Feedback(member_id=3, text=text)) for text in ("…", "")]
        await t.drain()
        bodies = [json.loads(body) for job in jobs for _, body in await t.callbacks(job)]
    assert bodies == [{"memberId": 3, "content": "Good: …"}, {"memberId": 3, "content": 502}]
    await page.run("secrets=")
    assert await page["lane"].callback_delivery._secrets.get("be") == ["whsec_…"]


async def test_consumers_page_runs(lane: Sidelane) -> None:
    class Feedback(BaseModel):
        member: int
        content: str

    @lane.task
    async def write_feedback(feedback: Feedback) -> str:
        return "…"

    page = Snippets("consumers.md", lane, Feedback=Feedback, write_feedback=write_feedback, cloudevents=cloudevents)
    await page.run("def requests")
    await page.run("def named_requests")
    await page.run("t.consume")
    assert [intake.name for intake in lane.consumers] == ["requests", "named_requests"]


async def test_remote_worker_page_runs(lane: Sidelane) -> None:
    class AnalyseIn(BaseModel):
        audio: str

    page = Snippets("remote-worker.md", lane, AnalyseIn=AnalyseIn, Report=dict[str, float])
    await page.run("lane.task")
    assert "audio.analyse" in lane.registry.tasks


@pytest.mark.row("R22")
async def test_files_page_runs(lane: Sidelane) -> None:
    async def measure(path: Path) -> int:
        return path.stat().st_size  # noqa: ASYNC240 - what the page's reader does there takes long anyway

    jobs = Jobs(lane, user=None)
    app = FastAPI()
    app.include_router(jobs.router, prefix="/jobs")
    app.include_router(jobs.files, prefix="/files")
    respond = Annotated[Responder, Depends(jobs.respond)]
    page = Snippets(
        "files.md", lane, app=app, jobs=jobs, measure=measure, Report=int, Respond=respond, Response=Response,
        UploadFile=UploadFile,
    )  # fmt: skip
    for block in ("async def analyse", "async def upload_audio", "async def begin"):
        await page.run(block)
    wav = b"RIFF\x00\x00\x00\x00WAVE"
    transport = httpx2.ASGITransport(app=app)
    async with harness(lane) as t, httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
        accepted = await client.post("/t-1/upload-audio", files={"file": ("a.wav", wav, "audio/wav")})
        assert accepted.status_code == 202
        upload = (await client.post("/uploads")).json()
        await client.request(upload["method"], upload["url"], headers=upload["headers"], content=wav)
        assert (await client.post(f"/uploads/{upload['id']}")).status_code == 202
        await t.drain()
        assert [record.result for record in await t.records(page["analyse"])] == ["12", "12"]
