"""Tables of autoscaled groups and of their changes: they fit 80 columns, and show why."""

import time

import pytest

from sidelane.admin.scaling import Scaling
from sidelane.cli.output.scaling import print_scaling

REASON = "chat: 120 ready, to start within 10 s, need 34 slots, limit openai/gpt-4o"
REPORT = {
    "least": 1,
    "most": 8,
    "wanted": 3,
    "busy": 2,
    "predicted_wait": 4.0,
    "reason": REASON,
    "capped_by": "",
    "at": 0.0,
}


def test_groups_and_changes_fit_80_columns(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    groups = [
        {"name": "chat", "target": 2, "pinned": True, "autoscale": REPORT},
        {"name": "mail", "target": 1, "pinned": False, "autoscale": {**REPORT, "wanted": None}},
    ]
    print_scaling(groups, [Scaling(time.time() - 60, "a-host-with-a-long-name.example.com", "chat", 1, 3, REASON)])
    shown = capsys.readouterr().out
    assert max(map(len, shown.splitlines())) <= 80
    assert "2 (pinned)" in shown
    assert "1 → 3" in shown
    assert "openai/gpt-4o" in shown


def test_without_an_autoscaled_group_it_says_how_to_start_one(capsys: pytest.CaptureFixture[str]) -> None:
    print_scaling([], [])
    assert "sidelane up --autoscale NAME=1..8" in capsys.readouterr().err
