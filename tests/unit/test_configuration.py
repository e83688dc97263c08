"""Configuration: sources of settings, and errors of invalid ones."""

from pathlib import Path

import pytest

from sidelane import ConfigurationError
from sidelane.configuration import load_settings


def project(folder: Path, table: str) -> Path:
    (folder / "pyproject.toml").write_text(f"[tool.sidelane]\n{table}", "utf-8")
    inner = folder / "src" / "shop"
    inner.mkdir(parents=True)
    return inner


def test_a_relative_store_starts_at_the_projects_root(tmp_path: Path) -> None:
    found = load_settings({}, project(tmp_path, ""))
    assert found.settings.store == f"sqlite:///{tmp_path / 'sidelane.db'}"
    assert found.origins["store"] == "default"


def test_the_environment_overrides_the_project_and_code_overrides_both(tmp_path: Path) -> None:
    inner = project(tmp_path, "lease_duration = 4\nshutdown_timeout = 5\nretention = 6")
    found = load_settings({"SIDELANE_SHUTDOWN_TIMEOUT": "50", "SIDELANE_RETENTION": "60"}, inner, retention=600)
    assert (found.settings.lease_duration, found.settings.shutdown_timeout, found.settings.retention) == (4, 50, 600)
    assert found.origins["lease_duration"].endswith("pyproject.toml, [tool.sidelane]")
    assert found.origins["shutdown_timeout"] == "SIDELANE_SHUTDOWN_TIMEOUT (environment)"
    assert found.origins["retention"] == "argument in code"


def test_an_invalid_value_names_its_setting_and_origin(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigurationError, match=r"lease_duration \(SIDELANE_LEASE_DURATION \(environment\)\): .*valid number"
    ):
        load_settings({"SIDELANE_LEASE_DURATION": "soon"}, tmp_path)


@pytest.mark.parametrize(
    ("name", "choices"),
    [("TRACES", "'otlp' or 'langfuse'"), ("LOG_FORMAT", "'text' or 'json'"), ("ALERT_FORMAT", "'slack' or 'discord'")],
)
def test_a_value_that_is_no_choice_names_the_choices(tmp_path: Path, name: str, choices: str) -> None:
    with pytest.raises(ConfigurationError, match=choices):
        load_settings({f"SIDELANE_{name}": "jaeger"}, tmp_path)


def test_an_unknown_setting_raises(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no setting 'leese'"):
        load_settings({}, project(tmp_path, "leese = 4"))


def test_the_error_of_an_invalid_project_file_names_it(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text("[tool", "utf-8")
    with pytest.raises(ConfigurationError, match=r"pyproject\.toml is not valid TOML"):
        load_settings({}, tmp_path)
