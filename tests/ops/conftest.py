"""Fixtures of the tests of services: no setting comes from the shell that runs them."""

import pytest


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SIDELANE_LANE", "COLUMNS", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
