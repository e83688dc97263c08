"""Where settings come from, and what is said of those that cannot be."""

from pathlib import Path

import pytest

from sidelane import ConfigurationError
from sidelane.engine.configuration import load


def project(folder: Path, table: str) -> Path:
    (folder / "pyproject.toml").write_text(f"[tool.sidelane]\n{table}", "utf-8")
    inner = folder / "src" / "shop"
    inner.mkdir(parents=True)
    return inner


def test_a_relative_store_counts_from_the_projects_root(tmp_path: Path) -> None:
    found = load({}, project(tmp_path, ""))
    assert found.settings.store == f"sqlite:///{tmp_path / 'sidelane.db'}"
    assert found.origins["store"] == "default"


def test_the_environment_beats_the_project_and_code_beats_both(tmp_path: Path) -> None:
    inner = project(tmp_path, "lease = 4\ndrain = 5\nkeep = 6")
    found = load({"SIDELANE_DRAIN": "50", "SIDELANE_KEEP": "60"}, inner, keep=600)
    assert (found.settings.lease, found.settings.drain, found.settings.keep) == (4, 50, 600)
    assert found.origins["lease"].endswith("pyproject.toml, [tool.sidelane]")
    assert found.origins["drain"] == "SIDELANE_DRAIN (environment)"
    assert found.origins["keep"] == "given in code"


def test_a_wrong_value_names_its_setting_and_where_it_came_from(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"lease \(SIDELANE_LEASE \(environment\)\): .*valid number"):
        load({"SIDELANE_LEASE": "soon"}, tmp_path)


def test_an_unknown_setting_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no setting 'leese'"):
        load({}, project(tmp_path, "leese = 4"))


def test_a_broken_project_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool", "utf-8")
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml is not valid TOML"):
        load({}, tmp_path)
