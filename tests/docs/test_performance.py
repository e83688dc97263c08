"""The page on performance is made of figures, and says what they say."""

import json
from pathlib import Path

from benchmarks.page import with_tables

DOCS = Path(__file__).parents[2] / "docs"


def test_the_page_says_what_its_figures_say() -> None:
    page = (DOCS / "performance.md").read_text("utf-8")
    figures = json.loads((DOCS / "performance.json").read_text("utf-8"))
    assert with_tables(page, figures) == page, "stale: python -m benchmarks.page"
