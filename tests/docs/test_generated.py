"""Generated parts of the documentation are up to date: scenarios, settings, API reference."""

from importlib import util
from pathlib import Path
from types import ModuleType

SCRIPT = Path(__file__).with_name("generate.py")


def generate() -> ModuleType:
    spec = util.spec_from_file_location("generate", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_scenarios_page_lists_the_marked_tests() -> None:
    script = generate()
    text = script.SCENARIOS.read_text("utf-8")
    assert script.scenarios(text) == text, "stale: python tests/docs/generate.py"


def test_settings_page_lists_every_setting_with_its_default() -> None:
    script = generate()
    text = script.SETTINGS.read_text("utf-8")
    assert script.settings(text) == text, "stale: python tests/docs/generate.py"


def test_api_reference_has_every_public_name() -> None:
    script = generate()
    text = script.API.read_text("utf-8")
    assert script.api(text) == text, "stale: python tests/docs/generate.py"
