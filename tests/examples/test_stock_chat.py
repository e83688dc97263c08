"""The demo runs to its end on the real model: it streams, resumes, loses a worker and finishes all the same."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.llm, pytest.mark.timeout(300)]


def test_the_demo_shows_all_it_promises_and_exits_0() -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "examples.stock_chat.demo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
