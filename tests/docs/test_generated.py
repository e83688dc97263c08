"""Generated parts of the documentation are up to date: scenarios, settings, services, metrics, plans, API reference, decisions."""

import re
from importlib import util
from pathlib import Path
from types import ModuleType

import pytest

import sidelane.telemetry
import sidelane.testing
import sidelane.web

SCRIPT = Path(__file__).with_name("generate.py")


def generate() -> ModuleType:
    spec = util.spec_from_file_location("generate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("part", ["SCENARIOS", "SETTINGS", "RUNNING", "METRICS", "SIZING", "API", "DECISIONS", "NAV"])
def test_generated_part_is_up_to_date(part: str) -> None:
    script = generate()
    path = getattr(script, part)
    text = path.read_text("utf-8")
    assert script.PARTS[path](text) == text, "stale: python tests/docs/generate.py"


@pytest.mark.parametrize(
    "module", [sidelane.web, sidelane.testing, sidelane.telemetry], ids=lambda module: module.__name__
)
def test_api_reference_has_the_names_of_other_modules(module: ModuleType) -> None:
    text = generate().API.read_text("utf-8")
    assert set(re.findall(rf"^::: {module.__name__}\.(\w+)$", text, re.MULTILINE)) == set(module.__all__)
