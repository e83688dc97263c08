"""Finding the lane: by reference, by the setting, or in the modules that an application imports."""

import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from sidelane import Sidelane
from sidelane.cli.locate import load_lane
from sidelane.model.errors import ConfigurationError
from tests.cli.project import Project


@pytest.fixture(autouse=True)
def modules(project: Project) -> Iterator[None]:
    """Unload the project's modules after each test, and hide the lanes of other tests."""
    there = list(sys.modules.items())
    others = ("tests.", "examples.", "benchmarks.")
    hidden = {name: module for name, module in there if name.startswith(others) and _has_lane(module)}
    for name in hidden:
        del sys.modules[name]
    before, path = set(sys.modules), list(sys.path)
    yield
    sys.modules.update(hidden)
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {"shop", "main", "other", "sidelane_shop"}:
            del sys.modules[name]
    sys.path[:] = path


def _has_lane(module: ModuleType) -> bool:
    return any(isinstance(value, Sidelane) for value in list(vars(module).values()))


def test_a_lane_is_named_by_module_and_attribute() -> None:
    lane = load_lane("shop.lane:lane")
    assert set(lane.queues) == {"chat", "gpu", "default"}
    assert "answer" in lane.registry.tasks


def test_a_module_with_one_lane_is_enough() -> None:
    assert load_lane("shop.lane") is load_lane("shop.lane:lane")


def test_the_lane_of_an_application_is_found_in_its_module() -> None:
    assert load_lane("main:app") is load_lane("shop.lane:lane")


@pytest.mark.long
def test_the_lane_is_found_in_what_the_application_imports(project: Project) -> None:
    project.write("main.py", "import shop.tasks\n\napp = object()\n")
    assert load_lane("main:app") is load_lane("shop.lane:lane")


def test_a_package_may_have_a_name_that_begins_with_sidelane(project: Project) -> None:
    project.write("sidelane_shop.py", "from sidelane import Sidelane\n\nown = Sidelane()\n")
    project.write("main.py", "import sidelane_shop\n\napp = object()\n")
    assert load_lane("main:app") is load_lane("sidelane_shop:own")


def test_the_setting_is_the_default_lane(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDELANE_LANE", "shop.lane:lane")
    assert load_lane(None) is load_lane("shop.lane:lane")


def test_a_missing_lane_is_explained(project: Project) -> None:
    with pytest.raises(ConfigurationError, match="SIDELANE_LANE"):
        load_lane(None)
    project.write("other.py", "app = object()\n")
    with pytest.raises(ConfigurationError, match="module:attribute"):
        load_lane("other:app")


def test_a_module_with_two_lanes_is_ambiguous(project: Project) -> None:
    project.write("other.py", "from sidelane import Sidelane\nred = Sidelane()\nblue = Sidelane()\n")
    with pytest.raises(ConfigurationError, match=r"other:red, other:blue"):
        load_lane("other")


def test_the_setting_decides_between_several_lanes(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    project.write("other.py", "from sidelane import Sidelane\nred = Sidelane()\nblue = Sidelane()\n")
    monkeypatch.setenv("SIDELANE_LANE", "other:blue")
    assert load_lane("other") is load_lane("other:blue")
    assert load_lane("shop.lane") is load_lane("shop.lane:lane")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("nowhere.lane:lane", "There is no module 'nowhere.lane'"),
        ("shop.lane:lame", "It has shop.lane:lane"),
        ("shop/lane.py:lane", "module with dots"),
        (":lane", "module with dots"),
    ],
)
def test_an_invalid_reference_is_explained(reference: str, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        load_lane(reference)


def test_an_import_error_names_file_and_line(project: Project) -> None:
    broken = project.write("shop/tasks.py", "x = 1\ny = 1 // 0\n")
    with pytest.raises(ConfigurationError, match=rf"ZeroDivisionError.*{broken}, line 2"):
        load_lane("shop.lane:lane")


def test_a_syntax_error_names_file_and_line(project: Project) -> None:
    broken = project.write("main.py", "x = 1\nthis is no python\n")
    with pytest.raises(ConfigurationError, match=rf"SyntaxError.*{broken}, line 2"):
        load_lane("main:app")


def test_a_missing_inner_import_is_not_mistaken_for_the_module(project: Project) -> None:
    project.write("main.py", "import surely_not_installed\n")
    with pytest.raises(ConfigurationError, match=r"main cannot be imported.*surely_not_installed"):
        load_lane("main:app")
