"""The demo on a real language model: it streams, resumes, loses a worker and completes."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.long, pytest.mark.llm, pytest.mark.timeout(300)]


@pytest.mark.row("R1")
def test_demo_completes_and_exits_0() -> None:
    demo = subprocess.run(
        [sys.executable, "-m", "examples.stock_chat.demo"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert demo.returncode == 0, demo.stdout + demo.stderr
