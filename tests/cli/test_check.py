"""`sidelane check`: what the store is, whether it takes jobs, and what could lose them."""

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.shelf import Shelf
from tests.contract.servers import EVERY_KIND, RunningServer


@pytest.fixture(params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    running = RunningServer(request.param, folder)
    yield running
    running.stop()


def test_a_file_that_takes_jobs_is_well(shelf: Shelf, sidelane: Command) -> None:
    shelf.submit("a")
    said = sidelane("check")
    assert said.code == 0
    assert f"{shelf.url}  SQLite {apsw.sqlite_lib_version()}\n" in said.out
    assert "it takes jobs" in said.out
    assert said.err == ""
    assert sidelane("check", "--json").json == {
        "store": shelf.url,
        "description": f"SQLite {apsw.sqlite_lib_version()}",
        "durability_warnings": [],
    }


def test_a_file_that_is_not_there_yet_is_not_made(project: Project, sidelane: Command) -> None:
    said = sidelane("check")
    assert said.code == 3
    assert "Nothing has been kept" in said.err
    assert not (project.folder / "sidelane.db").exists()


def test_a_store_in_memory_is_said_to_lose_everything(sidelane: Command) -> None:
    said = sidelane("check", "--store", "sqlite://:memory:")
    assert said.code == 1
    assert "it may lose jobs: it is in the memory of one process" in said.err


def test_a_server_that_keeps_what_it_acknowledged_is_well(server: RunningServer, sidelane: Command) -> None:
    server.start("--appendfsync", "always", "--requirepass", "tellnobody")
    said = sidelane("check", "--store", server.url(password="tellnobody"))
    assert said.code == 0
    assert f":********@127.0.0.1:{server.port}" in said.out
    assert ", appendfsync always\n" in said.out
    assert said.out.split("  ")[1].split(" ")[0] in {"Redis", "Valkey"}
    assert "tellnobody" not in said.out + said.err


def test_what_could_lose_jobs_on_a_server_is_said_in_full(server: RunningServer, sidelane: Command) -> None:
    server.start("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    said = sidelane("check", "--store", server.url())
    assert said.code == 1
    assert "it takes jobs" in said.out
    assert said.err.count("it may lose jobs") == 2
    assert "appendonly yes" in said.err
    assert "noeviction" in said.err
    assert len(sidelane("check", "--json", "--store", server.url()).json["durability_warnings"]) == 2


def test_a_server_that_never_syncs_is_said_to_lose_jobs_in_a_crash_of_the_machine(
    server: RunningServer, sidelane: Command
) -> None:
    server.start("--appendfsync", "no")
    said = sidelane("check", "--store", server.url())
    assert said.code == 1
    assert "appendfsync no" in said.err


def test_a_server_that_is_full_cannot_be_used(server: RunningServer, sidelane: Command) -> None:
    server.start("--maxmemory", "1mb")
    said = sidelane("check", "--store", server.url())
    assert said.code == 3
    assert "is full" in said.err
    assert "it takes jobs" not in said.out


def test_a_server_that_is_not_there_cannot_be_used(server: RunningServer, sidelane: Command) -> None:
    said = sidelane("check", "--store", server.url())
    assert said.code == 3
    assert "SIDELANE_STORE" in said.err
    assert "Traceback" not in said.err


def test_a_server_that_does_not_tell_its_configuration_can_be_used(server: RunningServer, sidelane: Command) -> None:
    server.start("--rename-command", "CONFIG", "")
    said = sidelane("check", "--store", server.url())
    assert said.code == 0
    assert "appendfsync" not in said.out
