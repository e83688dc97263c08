"""Dockerfile: two stages, an ordinary user, and what the project's files say about its dependencies."""

import json
import re
from pathlib import Path

import pytest

from sidelane.ops.deploy.dockerfile import dockerfile_files
from tests.ops.deploy.facts import facts


def dockerfile(folder: Path) -> str:
    file, ignored = dockerfile_files(facts(folder))
    assert (file.name, ignored.name) == ("Dockerfile", ".dockerignore")
    assert {".env", ".git", ".venv", ".sidelane"} <= set(ignored.text.splitlines())
    return file.text


def test_image_runs_the_service_as_an_ordinary_user_behind_an_init(tmp_path: Path) -> None:
    text = dockerfile(tmp_path)
    build, run = re.split(r"^FROM ", text, flags=re.MULTILINE)[1:]
    assert build.startswith("python:3.")
    assert "COPY --from=build /opt/venv /opt/venv" in run
    assert re.search(r"^USER 10001$", run, re.MULTILINE)
    assert "STOPSIGNAL SIGTERM" in run
    # the exec form: a shell would not pass signals on
    (entry,), (command,) = (re.findall(rf"^{key} (.*)$", run, re.MULTILINE) for key in ("ENTRYPOINT", "CMD"))
    assert json.loads(entry) == ["tini", "-s", "--"]
    assert json.loads(command) == ["sidelane", "up", "--foreground"]
    assert "HEALTHCHECK" in run


@pytest.mark.parametrize(
    ("file", "command"),
    [
        ("uv.lock", "uv sync --frozen --no-dev"), ("requirements.txt", "pip install -r requirements.txt"),
        ("pyproject.toml", "pip install ."), (None, 'pip install "sidelane[all]"'),
    ],
)  # fmt: skip
def test_dependencies_are_those_of_the_project(tmp_path: Path, file: str | None, command: str) -> None:
    if file is not None:
        (tmp_path / file).touch()
    assert command in dockerfile(tmp_path)
