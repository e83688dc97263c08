"""What the tests of the command line need: a project with a lane, its store, and the command in this process or in others."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Command, run
from tests.cli.project import Project
from tests.cli.shelf import Shelf


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project's folder, the current one; whatever processes were started in it are ended with the test."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "SIDELANE_STORE", "SIDELANE_LANE", "SIDELANE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    yield made
    made.stop()
    print(made.report())


@pytest.fixture
def shelf(project: Project) -> Shelf:
    """The project's store, to put jobs in and look at them."""
    return Shelf(project.store)


@pytest.fixture
def sidelane(project: Project) -> Command:
    """The command `sidelane`, run in this process and the project's folder."""
    return run
