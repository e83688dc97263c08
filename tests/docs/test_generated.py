"""Generated parts of the documentation are up to date: scenarios, settings, API reference, decisions."""

from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).with_name("generate.py")


def generate() -> ModuleType:
    spec = util.spec_from_file_location("generate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("part", ["SCENARIOS", "SETTINGS", "API", "DECISIONS", "NAV"])
def test_generated_part_is_up_to_date(part: str) -> None:
    script = generate()
    path = getattr(script, part)
    text = path.read_text("utf-8")
    assert script.PARTS[path](text) == text, "stale: python tests/docs/generate.py"
