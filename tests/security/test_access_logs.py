"""Access logs without tokens: what the documentation gives for uvicorn and nginx, on real servers."""

import re
from pathlib import Path

import pytest
from httpx2 import AsyncClient
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.browser.nginx import Nginx
from tests.system.conftest import lease, processes, store_url
from tests.system.processes import Processes, port_of
from tests.system.waiting import until

__all__ = ["lease", "processes", "store_url"]

PAGE = Path(__file__).parents[2] / "docs" / "security.md"

TOKEN = "6a2f00ff.x1Y-secret_token"  # noqa: S105 - it opens nothing
PATHS = [f"/jobs/01a2/events/{TOKEN}", f"/jobs/01a2/events/{TOKEN}?after=1", f"/files/{TOKEN}", f"/x?a=1&token={TOKEN}"]
LOGGED = ["/jobs/01a2/events/...", "/jobs/01a2/events/...?after=1", "/files/...", "/x?a=1&token=..."]


@pytest.fixture
def kind() -> str:
    return "sqlite"


@pytest.fixture
def appendfsync() -> str:
    return "always"


def documented(language: str, containing: str) -> str:
    """Return the one block of the page that contains this text."""
    found = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    (block,) = [each for each in found if containing in each]
    return str(block)


async def test_uvicorn_logs_requests_and_websockets_without_their_tokens(processes: Processes, tmp_path: Path) -> None:
    (tmp_path / "filtered.py").write_text(
        "from tests.system.api import app\n" + documented("python", "class WithoutTokens")
    )
    uvicorn = processes.python("api", "uvicorn", "--app-dir", str(tmp_path), "--port", "0", "filtered:app")
    port = await until(lambda: port_of(uvicorn), "the service listens", within=20)
    async with AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
        for path in PATHS:
            await client.get(path)
    with pytest.raises(ConnectionClosed):
        async with connect(f"ws://127.0.0.1:{port}{PATHS[0]}") as socket:
            await socket.recv()
    await until(lambda: uvicorn.logged('"WebSocket /jobs/01a2/events/..."'), "the WebSocket is logged")
    log = uvicorn.log.read_text()
    for path in LOGGED:
        assert f'"GET {path} HTTP/1.1" 4' in log
    assert TOKEN not in log


async def test_nginx_logs_requests_without_their_tokens(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    log = tmp_path / "access.log"
    http = documented("text", "log_format").replace("/var/log/nginx/access.log", str(log))
    nginx = Nginx(tmp_path / "nginx", upstream=1, http=http)  # nothing listens there: each answer is an error
    request.addfinalizer(nginx.stop)
    async with AsyncClient(base_url=f"http://127.0.0.1:{nginx.port}", trust_env=False) as client:
        for path in PATHS:
            await client.get(path)
    await until(lambda: log.read_text().count("\n") == len(PATHS), "the requests are logged")
    lines = log.read_text().splitlines()
    assert [line.split('"')[1] for line in lines] == [f"GET {path.partition('...')[0]}... HTTP/1.1" for path in LOGGED]
