"""Snippets of the pages about tasks, jobs, HTTP, own paths, lifespan, logging and testing run as written."""

import ast
import contextlib
import json
import logging
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, nullcontext
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Annotated, Any, cast

import httpx2
import pytest
from fastapi import Depends, FastAPI, Header, HTTPException, Request, Response
from pydantic import BaseModel

import sidelane
import sidelane.testing
import sidelane.web
from sidelane import Context, PermanentFailure, Problem, Queue, RetryLater, Sidelane, State, Use
from sidelane.testing import harness

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md")])


def blocks(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)


async def run(page: str, containing: str, names: dict[str, Any]) -> None:
    """Run the one block of a page that contains this text, among these names."""
    (block,) = [block for block in blocks(ROOT / "docs" / page) if containing in block]
    code = compile(block, page, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    outcome = eval(code, names)  # noqa: S307
    if outcome is not None:
        await outcome


class Question(BaseModel):
    session: str = "s"


class Report(BaseModel):
    score: float = 0.5


class FakeModel:
    """Stands for the reader's model and its client."""


@pytest.fixture
def lane(tmp_path: Path) -> Sidelane:
    return Sidelane(queues=[Queue("chat")], store=f"sqlite:///{tmp_path / 'jobs.db'}")


@pytest.fixture
def names(lane: Sidelane) -> dict[str, Any]:
    """The names that pages take for granted."""
    public: dict[str, Any] = {name: getattr(sidelane, name) for name in sidelane.__all__}
    for module in (sidelane.web, sidelane.testing):
        public |= {name: getattr(module, name) for name in module.__all__}
    mine = {
        "lane": lane, "AsyncIterator": AsyncIterator, "Annotated": Annotated, "Depends": Depends, "FastAPI": FastAPI,
        "Request": Request, "Response": Response, "HTTPException": HTTPException, "BaseModel": BaseModel,
        "Question": Question, "question": Question(), "Report": Report, "logging": logging,
        "asynccontextmanager": asynccontextmanager,
    }  # fmt: skip
    return public | mine


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_python_block_is_valid(page: Path) -> None:
    for block in blocks(page):
        compile(block, page.name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


async def test_tasks_page_runs(lane: Sidelane, names: dict[str, Any]) -> None:
    spans: list[str] = []

    def span(name: str) -> contextlib.AbstractContextManager[None]:
        spans.append(name)
        return nullcontext()

    names |= {"tracer": SimpleNamespace(start_as_current_span=span), "AsyncOpenAI": AsyncClient, "Model": FakeModel}
    names |= {"Engine": FakeModel, "Session": FakeModel, "engine": lane.resource(FakeModel)}
    await run("tasks.md", "yield client", names)
    await run("tasks.md", "async def trace", names)
    (policy,) = [block for block in blocks(ROOT / "docs" / "tasks.md") if "cancel_grace=5" in block]
    names["lane"] = Sidelane(queues=[Queue("chat")], settings={"store": lane.settings.store})
    exec(policy, names)  # noqa: S102
    assert names["answer"].policy.max_worker_losses == 3

    @lane.task
    async def answer(llm: object = Use(names["openai"])) -> str:
        return type(llm).__name__

    @lane.task
    async def later(ctx: Context = Use(Context)) -> str:
        if ctx.attempt == 1:
            raise RetryLater(30)
        raise PermanentFailure("Sold out", status=409)

    async with harness(lane) as t:
        assert await t.run(answer.call()) == "AsyncClient"
        job = await later.submit()
        await t.drain()
        await t.advance(31)
        await t.drain()
        record = await job.record()
        assert (record.state, record.failures, record.attempt) == (State.FAILED, 1, 2)
    assert spans == ["answer", "later", "later"]


class AsyncClient:
    """Stands for AsyncOpenAI."""

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None: ...


async def test_jobs_page_runs(lane: Sidelane, names: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    billed: list[str] = []

    async def bill(audio: str, key: str) -> None:
        billed.append(key)

    @lane.task
    async def answer(question: str) -> str:
        return question

    @lane.task
    async def summarise(audio: str) -> str:
        return audio

    @lane.task
    async def ocr(page: str) -> str:
        return page

    names |= {"bill": bill, "summarise": summarise, "ocr": ocr, "answer": answer, "job_id": "j-1", "Report": None}
    await run("jobs.md", "async def analyse", names)
    async with harness(lane) as t:
        await answer.options(id="j-1").submit("Why?")
        await run("jobs.md", 'options(user="u7")', names)
        await t.drain()
        await run("jobs.md", "report = await job.result", names)
        assert names["report"] == "Why?"
        await run("jobs.md", "async for event", names)
        assert capsys.readouterr().out.startswith("1 end ")
        await run("jobs.md", "await job.requeue()", names)
        assert names["record"].state is State.SUCCEEDED
        await t.drain()
        await t.run(names["analyse"].call("a.wav"))
        await t.run(names["convert"].call(["p1", "p2"]))
        assert [record.result for record in await t.records(ocr)] == ['"p1"', '"p2"']
    assert len(billed) == 1


async def test_http_page_shows_what_clients_see_of_an_error(lane: Sidelane, names: dict[str, Any]) -> None:
    class ModelError(Exception):
        pass

    (block,) = [block for block in blocks(ROOT / "docs" / "http.md") if "lane.problem" in block]
    rule, permanent, http = block.splitlines()
    names["openai"] = SimpleNamespace(APIError=ModelError)
    exec(rule, names)  # noqa: S102
    seen: list[tuple[int, str, str | None]] = []
    for line in ("raise openai.APIError('busy')", permanent, http):
        exec(f"async def raising() -> None:\n    {line}\n", names)  # noqa: S102
        raising: Callable[..., Any] = names["raising"]
        task = lane.task(name=f"raising-{len(seen)}")(raising)
        async with harness(lane) as t:
            job = await task.submit()
            await t.drain()
            problem = (await job.record()).problem
            assert isinstance(problem, Problem)
            seen.append((problem.status, problem.title, problem.detail))
    assert seen[0] == (502, "Model failed", "busy")
    assert seen[1] == (402, "No credit", "…")
    assert (seen[2][0], seen[2][2]) == (404, "No such stock.")


@pytest.mark.row("R2")
async def test_own_paths_page_runs(lane: Sidelane, names: dict[str, Any]) -> None:
    @lane.task
    async def answer(question: Question) -> str:
        return question.session

    app = FastAPI()
    app.add_exception_handler(sidelane.SidelaneError, sidelane.web.problem_handler)
    user = Annotated[str, Header(alias="X-User")]
    await run(
        "own-paths.md", "class RequestStatus", names | {"app": app, "answer": answer, "User": user, "__name__": "own"}
    )
    transport = httpx2.ASGITransport(app=app)
    async with harness(lane) as t, httpx2.AsyncClient(transport=transport, base_url="http://shop") as client:
        ann = {"X-User": "ann"}
        asked = (await client.post("/requests", json={"session": "s"}, headers=ann)).json()
        assert asked["status"] == "queued"
        assert (await client.get(asked["result_url"], headers=ann)).status_code == 202
        assert (await client.get(asked["status_url"], headers={"X-User": "eve"})).status_code == 404
        await t.drain()
        result = await client.get(asked["result_url"], headers=ann)
        assert (result.status_code, result.json()) == (200, {"request_id": asked["request_id"], "answer": "s"})


async def test_own_lifespan_page_runs(lane: Sidelane, names: dict[str, Any]) -> None:
    @asynccontextmanager
    async def connect_database() -> AsyncIterator[None]:
        yield

    @lane.task
    async def answer(question: str) -> None: ...

    names["connect_database"] = connect_database
    await run("own-lifespan.md", "async def lifespan", names)
    with pytest.raises(sidelane.LaneNotOpen):
        await answer.submit("Why?")
    async with names["lifespan"](names["app"]):
        assert (await answer.submit("Why?")).created


async def test_logging_page_runs(lane: Sidelane, names: dict[str, Any]) -> None:
    root, level = logging.getLogger(), logging.getLogger("sidelane").level
    handlers, root_level = root.handlers[:], root.level

    @lane.task
    async def speak() -> None:
        logging.getLogger("shop").info("hello")

    try:
        await run("logging.md", 'setLevel("WARNING")', names)
        await run("logging.md", "dictConfig", names)
        logged = StringIO()
        cast("logging.StreamHandler[StringIO]", root.handlers[0]).setStream(logged)
        async with harness(lane) as t:
            job = await speak.submit()
            await t.drain()
    finally:
        logging.getLogger("sidelane").setLevel(level)
        root.handlers[:] = handlers
        root.setLevel(root_level)
    (line,) = [json.loads(line) for line in logged.getvalue().splitlines() if "hello" in line]
    assert (line["job"], line["task"], line["worker"]) == (job.id, "speak", "api")
    await run("logging.md", "keep_logs=True", names)
    assert lane.registry.tasks["answer"].policy.keep_logs


async def test_testing_page_runs(lane: Sidelane, names: dict[str, Any]) -> None:
    class Busy(Exception):
        pass

    class BusyOnce:
        calls = 0

        def ask(self) -> str:
            self.calls += 1
            if self.calls == 1:
                raise Busy
            return "…"

    @lane.resource
    def openai() -> BusyOnce:
        raise NotImplementedError

    @lane.task(retry=sidelane.Retry(attempts=2, backoff=sidelane.Fixed(60)))
    async def answer(question: Question, *, llm: BusyOnce = Use(openai)) -> str:
        return llm.ask()

    names |= {"answer": answer, "openai": openai, "BusyOnce": BusyOnce}
    await run("testing.md", "test_a_busy_model", names)
    await names["test_a_busy_model_is_tried_again"]()
