"""`sidelane check`: whether the store can be used and is durable."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.store_driver import StoreDriver
from tests.contract.servers import EVERY_KIND, RunningServer


@pytest.fixture(params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    running = RunningServer(request.param, folder)
    yield running
    running.stop()


def test_a_usable_file_passes(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("a")
    result = sidelane("check")
    assert result.exit_code == 0
    assert f"{driver.url}  SQLite {apsw.sqlite_lib_version()}\n" in result.stdout
    assert "it accepts jobs" in result.stdout
    assert result.stderr == ""
    assert sidelane("check", "--json").json == {
        "store": driver.url,
        "description": f"SQLite {apsw.sqlite_lib_version()}",
        "durability_warnings": [],
    }


def test_a_missing_file_is_not_created(project: Project, sidelane: Command) -> None:
    result = sidelane("check")
    assert result.exit_code == 3
    assert "There is no store at" in result.stderr
    assert not (project.folder / "sidelane.db").exists()


def test_an_in_memory_store_is_reported_as_not_durable(sidelane: Command) -> None:
    result = sidelane("check", "--store", "sqlite://:memory:")
    assert result.exit_code == 1
    assert "it may lose jobs: it is in the memory of one process" in result.stderr


def test_a_durable_server_passes(server: RunningServer, sidelane: Command) -> None:
    server.start("--appendfsync", "always", "--requirepass", "hidden-value")
    result = sidelane("check", "--store", server.url(password="hidden-value"))
    assert result.exit_code == 0
    assert f":********@127.0.0.1:{server.port}" in result.stdout
    assert ", appendfsync always\n" in result.stdout
    assert result.stdout.split("  ")[1].split(" ")[0] in {"Redis", "Valkey"}
    assert "hidden-value" not in result.stdout + result.stderr


def test_every_durability_problem_of_a_server_is_reported(server: RunningServer, sidelane: Command) -> None:
    server.start("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    result = sidelane("check", "--store", server.url())
    assert result.exit_code == 1
    assert "it accepts jobs" in result.stdout
    assert result.stderr.count("it may lose jobs") == 2
    assert "appendonly yes" in result.stderr
    assert "noeviction" in result.stderr
    assert len(sidelane("check", "--json", "--store", server.url()).json["durability_warnings"]) == 2


def test_a_server_that_never_syncs_is_reported_as_not_durable(server: RunningServer, sidelane: Command) -> None:
    server.start("--appendfsync", "no")
    result = sidelane("check", "--store", server.url())
    assert result.exit_code == 1
    assert "appendfsync no" in result.stderr


def test_a_full_server_exits_with_3(server: RunningServer, sidelane: Command) -> None:
    server.start("--maxmemory", "1mb")
    result = sidelane("check", "--store", server.url())
    assert result.exit_code == 3
    assert "is full" in result.stderr
    assert "it accepts jobs" not in result.stdout


def test_an_unreachable_server_exits_with_3(server: RunningServer, sidelane: Command) -> None:
    result = sidelane("check", "--store", server.url())
    assert result.exit_code == 3
    assert "SIDELANE_STORE" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_server_without_the_config_command_passes(server: RunningServer, sidelane: Command) -> None:
    server.start("--rename-command", "CONFIG", "")
    result = sidelane("check", "--store", server.url())
    assert result.exit_code == 0
    assert "appendfsync" not in result.stdout
