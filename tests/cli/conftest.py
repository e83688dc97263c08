"""Fixtures of the command line tests: a project with a lane, its store, and the command `sidelane`."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.command import Command, run
from tests.cli.project import Project
from tests.cli.store_driver import StoreDriver


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    """A project in the current directory. Its processes are stopped after the test."""
    for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "SIDELANE_STORE", "SIDELANE_LANE", "SIDELANE_DEBUG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    made = Project(tmp_path)
    yield made
    made.stop()
    print(made.report())


@pytest.fixture
def driver(project: Project) -> StoreDriver:
    """Reads and changes the project's store."""
    return StoreDriver(project.store)


@pytest.fixture
def sidelane(project: Project) -> Command:
    """The command `sidelane`, run in this process and in the project's folder."""
    return run


@pytest.fixture
def modules() -> Iterator[None]:
    """Unload the project's modules after a test that loads its lane."""
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "shop":
            del sys.modules[name]
    sys.path[:] = path
