"""The stock chat under `sidelane up`: its description starts the model, the API and the workers, and a chat is answered."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx2
import pytest

from examples.stock_chat.demo.conversation import ABOUT, CHAT
from tests.contract.servers import free_port
from tests.system.processes import ROOT

pytestmark = [pytest.mark.long, pytest.mark.llm, pytest.mark.timeout(300)]

SIDELANE = [sys.executable, "-P", "-m", "sidelane.cli"]


@dataclass(frozen=True, slots=True)
class Folder:
    """A folder with the description of the example, on free ports."""

    path: Path
    port: int

    def run(self, *arguments: str) -> str:
        done = subprocess.run([*SIDELANE, *arguments], cwd=self.path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Folder]:
    text = (ROOT / "examples" / "stock_chat" / "sidelane.toml").read_text("utf-8")
    made = Folder(tmp_path, free_port())
    for old, new in ("port = 8000", f"port = {made.port}"), ("8081", str(free_port())), ('"../.."', f'"{ROOT}"'):
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "sidelane.toml").write_text(text, "utf-8")
    yield made
    made.run("down")


def test_sidelane_up_starts_a_chat_service_that_answers(folder: Folder) -> None:
    folder.run("up")
    with httpx2.Client(base_url=f"http://127.0.0.1:{folder.port}", timeout=120, trust_env=False) as client:
        question = {"message": "What does the company make?", **ABOUT}
        answer = client.post(f"{CHAT.format(session='s1')}/stream", json=question, headers={"X-User": "ann"})
    assert answer.status_code == 200
    assert "event: token" in answer.text
    assert "event: end" in answer.text
    (job,) = json.loads(folder.run("jobs", "list", "--json", "--task", "answer"))
    assert job["usage"]["input_tokens"] > 0
    assert job["usage"]["output_tokens"] == 120, "the model always writes the maximum"
