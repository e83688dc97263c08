"""The page of scenarios lists the tests that are marked with its rows."""

from importlib import util
from pathlib import Path
from types import ModuleType

ROWS = Path(__file__).with_name("rows.py")


def rows() -> ModuleType:
    spec = util.spec_from_file_location("rows", ROWS)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scenarios_page_lists_the_marked_tests() -> None:
    script = rows()
    text = script.PAGE.read_text("utf-8")
    assert script.page(text) == text, "stale: python tests/docs/rows.py"
