"""Units of systemd: `systemd-analyze verify` accepts them, and they say what the description says."""

import re
import sys
from pathlib import Path

import pytest

from sidelane import ConfigurationError
from sidelane.ops.deploy.checks import check_systemd
from sidelane.ops.deploy.facts import DeployFile
from sidelane.ops.deploy.systemd import SystemdOptions, systemd_files
from tests.ops.deploy.facts import SERVICE, TICKER, facts


def units(
    folder: Path, text: str = SERVICE, *, user: str | None = None, directory: str = "/srv/shop"
) -> dict[str, str]:
    files = systemd_files(facts(folder, text), SystemdOptions(user, directory, "/srv/shop/.venv/bin/sidelane"))
    return {file.name: file.text for file in files}


def values(unit: str, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", unit, re.MULTILINE)


def test_every_group_is_a_unit_of_one_target(tmp_path: Path) -> None:
    found = units(tmp_path)
    assert list(found) == [
        "shop.target", "shop-model.service", "shop-general.service", "shop-heavy.service", "shop-chat.service",
        "shop-rest.service",
    ]  # fmt: skip
    wanted = {"shop-general.service", "shop-heavy.service", "shop-chat.service", "shop-model.service"}
    assert set(values(found["shop.target"], "Wants")[0].split()) == wanted
    assert "WantedBy=shop.target" in found["shop-chat.service"]
    assert "WantedBy" not in found["shop-rest.service"]  # it does not start with the service
    assert values(found["shop-general.service"], "After")[-1] == "shop-model.service"


def test_unit_waits_for_readiness_and_for_running_jobs(tmp_path: Path) -> None:
    chat = units(tmp_path)["shop-chat.service"]
    expected = {
        "Type": "notify", "NotifyAccess": "main", "KillMode": "mixed", "TimeoutStopSec": "260", "TimeoutStartSec": "130",
        "WatchdogSec": "60", "Restart": "on-failure", "RestartPreventExitStatus": "3 6", "OOMPolicy": "continue",
        "ExecReload": "/bin/kill -HUP $MAINPID", "User": "shop", "WorkingDirectory": "/srv/shop",
        "NoNewPrivileges": "yes", "ProtectSystem": "strict", "PrivateTmp": "yes", "ReadWritePaths": '"/srv/shop"',
    }  # fmt: skip
    assert {key: values(chat, key)[0] for key in expected} == expected
    assert values(chat, "ExecStart")[0].startswith(f"/srv/shop/.venv/bin/sidelane worker {TICKER}:lane --name chat ")


def test_texts_are_escaped_and_secrets_are_not_written(tmp_path: Path) -> None:
    found = units(tmp_path)
    assert "hunter2" not in "".join(found.values())
    model = found["shop-model.service"]
    assert '"STAGE=a $HOME ${HOME} $(id) %%h \\"b\\" \\\\ c"' in values(model, "Environment")
    assert values(model, "ExecStart")[0].endswith('--title "$$HOME %% \\"x\\" \\\\ $$(id)"')
    assert values(model, "WorkingDirectory") == ["/srv/shop/models"]
    assert values(model, "EnvironmentFile") == ["/etc/shop.env"]


def test_env_file_is_read_by_systemd(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("STAGE=hidden\n")
    text = f'env_file = ".env"\nenvironment.STAGE = "live"\n[api.web]\napp = "{TICKER}:app"\nport = 80'
    web = units(tmp_path, text)["shop-web.service"]
    assert values(web, "EnvironmentFile") == ["/srv/shop/.env"]
    assert "# STAGE is in .env too, which overrides this line: remove it there." in web
    assert values(web, "AmbientCapabilities") == ["CAP_NET_BIND_SERVICE"]
    assert "hidden" not in web


@pytest.mark.parametrize(
    ("user", "directory"), [("a b", "/srv"), ("root\nX=1", "/srv"), (None, "srv"), (None, '/srv"')]
)
def test_value_that_would_change_a_unit_is_refused(tmp_path: Path, user: str | None, directory: str) -> None:
    with pytest.raises(ConfigurationError, match="--"):
        units(tmp_path, user=user, directory=directory)


@pytest.mark.long
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / ".env").write_text("A=1\n")
    check_systemd(systemd_files(facts(tmp_path), SystemdOptions(None, str(tmp_path), sys.executable)))
    text = f'env_file = ".env"\n[api.web]\napp = "{TICKER}:app"\nport = 80\nhost = "::"'
    check_systemd(systemd_files(facts(tmp_path, text), SystemdOptions(None, str(tmp_path), sys.executable)))


@pytest.mark.long
def test_what_systemd_reports_is_one_paragraph(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"reports .*Unknown key .*'Typo'.*Nothing was written") as caught:
        check_systemd([DeployFile("shop.service", "[Service]\nType=exec\nTypo=1\nExecStart=/bin/true\n")])
    assert "\n" not in str(caught.value)
