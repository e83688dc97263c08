"""`sidelane load`: its options, its output, and its exit codes. `tests/ops/test_load.py` has what it measures."""

import json
import signal
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from tests.cli.command import Command, run
from tests.cli.project import Project
from tests.cli.test_dev import address
from tests.contract.servers import free_port

URL = "http://127.0.0.1:8000"
CHAT = ("--post", "/chat", "--body", '{"question":"{n}"}')

JOB_ROUTES = """
from typing import Annotated

from fastapi import Depends, Response
from sidelane.web import Jobs, Responder

jobs = Jobs(lane, user=None)
app.include_router(jobs.router, prefix="/jobs")


@app.post("/chat")
async def chat(respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
    return await respond(answer.call("Why?"))
"""


class LightRoute(BaseHTTPRequestHandler):
    """Answers 200 at /health, and 500 elsewhere."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/health" else 500)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name of the base class
        """Log nothing."""


@pytest.fixture
def url() -> Iterator[str]:
    """A service that has only light routes."""
    with ThreadingHTTPServer(("127.0.0.1", 0), LightRoute) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("localhost:8000", "--light", "/health"), "not the address of a service"),
        ((URL,), "Name a route"),
        ((URL, *CHAT), "either --rate"),
        ((URL, *CHAT, "--rate", "5", "--users", "5"), "either --rate"),
        ((URL, *CHAT, "--rate", "-5"), "--rate: -5 is not a number above 0"),
        ((URL, *CHAT, "--rate", "fast"), "unable to parse"),
        ((URL, *CHAT, "--users", "2", "--think", "-1s"), "write a duration"),
        ((URL, *CHAT, "--users", "2", "--duration", "soon"), "write a duration"),
        ((URL, "--post", "/chat", "--body", "{", "--rate", "1"), "not valid JSON"),
        ((URL, "--post", "/chat", "--body", "@missing.json", "--rate", "1"), "cannot be read"),
        ((URL, *CHAT, "--body", "{}", "--rate", "1"), "2 bodies for 1 routes"),
        ((URL, *CHAT, "--rate", "1", "-H", "X-User"), "write 'NAME: VALUE'"),
        ((URL, *CHAT, "--rate", "1", "-H", "X-User: a\nB: c"), "printable ASCII"),
        ((URL, *CHAT, "--rate", "1", "-H", "X User: a"), "printable ASCII"),
        (("http://127.0.0.1:99999", *CHAT, "--rate", "1"), "Port out of range"),
        ((URL, *CHAT, "--rate", "1", "--write", "jmeter"), "is not one of"),
    ],
)
def test_wrong_usage_is_one_sentence(project: Project, arguments: tuple[str, ...], message: str) -> None:
    result = run("load", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""


def test_an_address_where_nothing_answers_is_one_sentence(sidelane: Command) -> None:
    result = sidelane("load", f"http://127.0.0.1:{free_port()}", *CHAT, "--rate", "1")
    assert result.exit_code == 4
    assert result.stderr.startswith("sidelane: Nothing answers at http://127.0.0.1:")
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_a_light_route_alone(sidelane: Command, url: str) -> None:
    result = sidelane("load", url, "--light", "/health", "--light-rate", "40", "--duration", "0.5")
    assert result.exit_code == 0
    assert "GET /health     20" in result.stdout
    assert f"ab -n 20 -c 10 {url}/health" in result.stdout


def test_a_load_whose_requests_fail_exits_with_1(sidelane: Command, url: str) -> None:
    result = sidelane("load", url, "--light", "/x", "--light-rate", "20", "--duration", "0.2", "--json")
    assert result.exit_code == 1
    assert result.json["errors"] == {"status 500": 4}
    assert result.json["error_share"] == 1


@pytest.mark.parametrize("tool", ["locust", "k6"])
def test_a_script_for_another_tool_sends_nothing(sidelane: Command, tool: str) -> None:
    arguments = (*CHAT, "--users", "5", "--light", "/health", "-H", "Authorization: Bearer x")
    result = sidelane("load", f"http://127.0.0.1:{free_port()}", *arguments, "--write", tool)
    assert result.exit_code == 0
    assert tool in result.stdout
    assert "ab -n 300 -c 10" in result.stderr
    assert "headers" in result.stderr


@pytest.mark.system
@pytest.mark.long
def test_ctrl_c_prints_what_was_measured_on_a_terminal_of_80_columns(project: Project) -> None:
    project.write("main.py", (project.folder / "main.py").read_text("utf-8") + JOB_ROUTES)
    dev = project.start("dev", "main:app", "--port", "0")
    url = address(dev)
    dev.wait_for("is ready for jobs")
    options = ("--post", "/chat", "--stream", "--rate", "5", "--light", "/", "--idle", "0.5", "--duration", "5min")
    load = project.start_on_terminal("load", url, *options, columns=80)
    load.wait_for("load for 2 of 300 s")
    load.signal(signal.SIGINT)
    assert load.exit_code() == 0
    table = load.output.rpartition("ROUTE")[2]
    assert "POST /chat" in table
    assert "first event" in table
    assert "succeeded" in table
    assert "Traceback" not in load.output
    assert max(map(len, table.splitlines())) <= 80


@pytest.mark.system
@pytest.mark.long
def test_the_document_of_a_real_service(project: Project) -> None:
    project.write("main.py", (project.folder / "main.py").read_text("utf-8") + JOB_ROUTES)
    dev = project.start("dev", "main:app", "--port", "0")
    url = address(dev)
    dev.wait_for("is ready for jobs")
    load = project.start("load", url, "--post", "/chat", "--wait", "5", "--users", "2", "--duration", "1", "--json")
    assert load.exit_code() == 0
    document = json.loads(load.output)
    assert document["outcomes"]["succeeded"] > 2
    assert document["errors"] == {}
