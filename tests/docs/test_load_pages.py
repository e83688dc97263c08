"""The pages about load, a slow request and Grafana: their service runs, their commands are plans, their YAML can be read."""

import re
import shlex
from pathlib import Path

import httpx2
import pytest
import yaml
from typer.testing import CliRunner

from sidelane.cli.main import command_line
from sidelane.ops.deploy.grafana import ROWS
from tests.docs.test_docs import module_of

DOCS = Path(__file__).parents[2] / "docs"

COMMANDS = [
    command.replace("\\\n", " ").partition(" > ")[0].strip()
    for page in ("load.md", "nine-seconds.md", "quickstart.md")
    for command in re.findall(r"^\$ sidelane (load (?:.*\\\n)*.*)$", (DOCS / page).read_text("utf-8"), re.MULTILINE)
]


@pytest.mark.long
async def test_the_slow_service_spends_its_time_as_the_page_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIDELANE_STORE", f"sqlite:///{tmp_path / 'jobs.db'}")
    slow = module_of((DOCS / "nine-seconds.md").read_text("utf-8"), tmp_path, monkeypatch)
    async with slow.lane.open(workers=1):
        transport = httpx2.ASGITransport(app=slow.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            accepted = await client.post("/chat?question=Why")
            assert accepted.status_code == 202
            record = await slow.lane.client.record(accepted.json()["id"])
            assert [limit.id for limit in record.spec.limits] == ["model/answer"]
            assert (await client.get("/health/live")).status_code == 200


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_of_the_pages_are_plans(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "question.json").write_text("{}")
    arguments = shlex.split(command)
    arguments += [] if "--write" in arguments else ["--write", "k6"]
    result = CliRunner().invoke(command_line(arguments), arguments)
    assert result.exit_code == 0, result.output


def test_there_are_commands() -> None:
    assert len(COMMANDS) == 7


def test_yaml_of_the_page_about_grafana_can_be_read() -> None:
    text = (DOCS / "grafana.md").read_text("utf-8")
    documents = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    assert [next(iter(document)) for document in documents] == ["rule_files", "apiVersion", "apiVersion"]


def test_every_row_of_the_dashboard_is_explained() -> None:
    text = (DOCS / "grafana.md").read_text("utf-8")
    rows = re.findall(r"^\| ([A-Z][\w ]+) \|", text.partition("## What each row says")[2], re.MULTILINE)
    assert rows[1:] == list(ROWS)
