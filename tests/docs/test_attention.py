"""The page about findings lists every kind."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_every_kind_of_finding_is_described() -> None:
    sources = (ROOT / "src" / "sidelane" / "admin" / "findings").glob("*_rules.py")
    kinds = {kind for each in sources for kind in re.findall(r'(?:key=|return )f?"([a-z-]+)', each.read_text("utf-8"))}
    page = (ROOT / "docs" / "attention.md").read_text("utf-8")
    assert set(re.findall(r"^\| `([a-z-]+)(?:`|:[A-Z…a-z])", page, re.MULTILINE)) == kinds
