"""Fixtures of the tests of services: no setting comes from the shell that runs them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.ops.service import Service


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIDELANE_LANE", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """A service that is not started yet. Its processes are ended after the test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SIDELANE_STORE", f"sqlite:///{tmp_path / 'sidelane.db'}")
    made = Service(tmp_path)
    yield made
    made.stop()
    print(made.progress.texts)
    if made.state.supervisor_log.exists():
        print(made.state.supervisor_log.read_text())
