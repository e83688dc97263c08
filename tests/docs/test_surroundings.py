"""The documentation names the surroundings that streams are tested in, and each has its test."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.stream_clients.surroundings import SURROUNDINGS

ROOT = Path(__file__).parents[2]


def test_documented_surroundings_are_those_tested() -> None:
    section = (ROOT / "docs" / "http.md").read_text("utf-8").partition("## Tested with\n")[2].partition("\n## ")[0]
    documented = re.findall(r"^\| ([^|]+?) +\| ", section, re.MULTILINE)
    assert documented[1:] == list(SURROUNDINGS)
    assert len(SURROUNDINGS) == 24


@pytest.mark.long
def test_each_surrounding_has_its_test() -> None:
    collect = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-m", "long", *SURROUNDINGS.values()]
    collected = subprocess.run(collect, cwd=ROOT, capture_output=True, text=True, check=False)
    assert collected.returncode == 0, collected.stdout + collected.stderr
