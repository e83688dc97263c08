"""`sidelane deploy`: what it prints and writes, and one paragraph for each kind of bad input."""

import os
import stat
import sys
from pathlib import Path
from uuid import uuid4

import pytest

from tests.cli.command import CommandResult, run

APPLICATION = """\
import os
from typing import Annotated

from fastapi import Depends, FastAPI, Response

from sidelane import Queue, Sidelane
from sidelane.web import Jobs, Responder

assert os.environ["STAGE"] == "live"
lane = Sidelane(queues=[Queue("chat")])
jobs = Jobs(lane, user=None)
app = FastAPI(lifespan=lane.lifespan)
app.include_router(jobs.router, prefix="/jobs")


@lane.task(queue="chat")
async def answer() -> str:
    return "Because."


@app.post("/chats")
async def chats(respond: Annotated[Responder, Depends(jobs.respond)]) -> Response:
    return await respond(answer.call())
"""

KINDS = ("nginx", "compose", "systemd", "kubernetes", "dockerfile", "messaging", "grafana")


class Project:
    """A project in the current folder, whose module has a name that no other test has imported."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.module = f"shop_{uuid4().hex}"
        self.file = folder / f"{self.module}.py"
        self.file.write_text(APPLICATION)
        description = f'environment.STAGE = "live"\n[api.web]\napp = "{self.module}:app"\n[worker.chat]\n'
        (folder / "sidelane.toml").write_text(description)

    def error(self, *arguments: str, code: int = 3) -> str:
        """Return the message of a command that fails, as one line."""
        result = run("deploy", *arguments)
        assert (result.exit_code, result.stdout) == (code, "")
        assert result.stderr.count("sidelane: ") == 1
        return " ".join(result.stderr.split())


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    folder = tmp_path / "My Shop"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delenv("STAGE", raising=False)
    return Project(folder)


def files(result: CommandResult, folder: Path) -> set[str]:
    assert (result.exit_code, result.stdout) == (0, "")
    written = {path.name for path in folder.iterdir()}
    assert {Path(line.removeprefix("✓ ")).name for line in result.stderr.splitlines()} == written
    return written


@pytest.mark.row("R21")
@pytest.mark.parametrize("kind", KINDS)
def test_file_is_printed(project: Project, kind: str) -> None:
    before = set(project.folder.glob("*.*"))
    result = run("deploy", kind)
    assert (result.exit_code, result.stderr) == (0, "")
    assert "my-shop" in result.stdout
    assert set(project.folder.glob("*.*")) == before
    assert "STAGE" not in os.environ


def test_routes_of_the_application_are_found(project: Project) -> None:
    assert 'location ~ "^/chats$"' in run("deploy", "nginx").stdout


def test_files_are_written_into_a_folder_and_not_overwritten(project: Project) -> None:
    folder = project.folder / "deploy"
    assert files(run("deploy", "systemd", "--output", str(folder)), folder) == {
        "my-shop.target", "my-shop-web.service", "my-shop-chat.service",
    }  # fmt: skip
    unit = folder / "my-shop-web.service"
    unit.write_text("changed")
    assert "there is such a file already, and nothing was written" in project.error("systemd", "-o", str(folder))
    assert unit.read_text() == "changed"
    assert len(files(run("deploy", "systemd", "-o", str(folder), "--force"), folder)) == 3
    assert unit.read_text() != "changed"


def test_name_of_the_service_can_be_chosen(project: Project) -> None:
    folder = project.folder / "deploy"
    assert files(run("deploy", "nginx", "--name", "Chats!", "-o", str(folder)), folder) == {"chats.conf"}


@pytest.mark.skipif(os.geteuid() == 0 and sys.platform != "linux", reason="root may write everywhere")
def test_folder_that_cannot_be_written_is_named(project: Project) -> None:
    if os.geteuid() == 0:
        folder = "/proc/sidelane"  # root cannot write here either
    else:
        closed = project.folder / "closed"
        closed.mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
        folder = str(closed / "deploy")
    message = project.error("dockerfile", "--output", folder)
    assert f"{folder} cannot be written:" in message
    assert "Choose a folder that you may write" in message


def test_error_of_the_application_is_shown_once(project: Project) -> None:
    project.file.write_text("import no_such_module\n")
    for kind in ("nginx", "compose"):
        message = project.error(kind)
        assert "cannot be imported: ModuleNotFoundError: No module named 'no_such_module'" in message
        assert f"{project.file}, line 1" in message


def test_missing_description_is_explained(project: Project) -> None:
    (project.folder / "sidelane.toml").unlink()
    assert "There is no description of a service in" in project.error("nginx")


def test_invalid_description_is_explained(project: Project) -> None:
    (project.folder / "sidelane.toml").write_text("[api.web]\nap = 1\n")
    assert "line 2, [api.web] `ap`: there is no such key" in project.error("compose")


def test_missing_nginx_is_explained(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidelane.ops.deploy.checks.SYSTEM_FOLDERS", ())
    monkeypatch.setenv("PATH", str(project.folder))
    assert "There is no program 'nginx' on this machine" in project.error("nginx", "--check")
    assert "There is no program 'systemd-analyze' on this machine" in project.error("systemd", "--check")


def test_force_without_a_folder_has_no_effect(project: Project) -> None:
    result = run("deploy", "dockerfile", "--force")
    assert result.exit_code == 0
    assert "--force has no effect without --output" in result.stderr
