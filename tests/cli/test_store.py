"""`sidelane store`: what is shown of a store, its vacuum, and its backup."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from sidelane.model.job import Failure
from sidelane.model.problem import Problem
from sidelane.stores.contract import Store
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.store_driver import StoreDriver
from tests.contract.servers import EVERY_KIND, RunningServer

FAILURE = Failure(problem=Problem(status=500, detail="it broke"), error="RuntimeError: it broke", traceback="line 1")


@pytest.fixture(params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    running = RunningServer(request.param, folder)
    yield running
    running.stop()


def grow_and_empty(driver: StoreDriver) -> None:
    """Submit a hundred large jobs, and remove them."""
    ids = [driver.submit(f"large-{number}", arguments='{"question": "' + "x" * 50_000 + '"}') for number in range(100)]

    async def remove(store: Store) -> None:
        await store.cancel(ids)
        assert all(await store.remove(ids))

    driver.call(remove)


def test_size_and_jobs_are_shown(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("a")
    driver.claim(driver.submit("b"))
    driver.fail("c", FAILURE)
    shown = sidelane("store", "show")
    assert shown.exit_code == 0
    assert shown.stdout.startswith(f"{driver.url}  SQLite ")
    assert "3: 1 queued, 1 running, 1 finished" in shown.stdout
    assert "sidelane.db" in shown.stdout
    document = sidelane("store", "show", "--json").json
    assert document["jobs"] == {"queued": 1, "running": 1, "finished": 1, "failed": 1}
    assert document["kind"] == "SQLite"
    assert document["bytes_per_job"] * 3 <= document["size"]
    per_day = 2 / 60 * 86_400  # two jobs have started in the last minute
    assert document["bytes_per_job"] * per_day * 0.5 < document["daily_growth"] <= document["bytes_per_job"] * per_day
    assert "a day at the present rate" in shown.stdout
    assert document["files"][0] == driver.url.removeprefix("sqlite:///")


def test_every_line_fits_a_narrow_terminal(project: Project, driver: StoreDriver) -> None:
    driver.submit("a")
    process = project.start_on_terminal("store", "show", columns=80)
    assert process.exit_code() == 0
    assert max(map(len, process.output.splitlines())) <= 80


def test_a_missing_store_is_not_created(project: Project, sidelane: Command) -> None:
    for command in (("show",), ("vacuum", "--yes"), ("backup", "copy.db")):
        assert sidelane("store", *command).exit_code == 3
    assert [path.name for path in project.folder.glob("*.db")] == []


def test_vacuum_shrinks_the_file(driver: StoreDriver, project: Project, sidelane: Command) -> None:
    grow_and_empty(driver)
    before = (project.folder / "sidelane.db").stat().st_size
    result = sidelane("store", "vacuum", "--yes")
    assert result.exit_code == 0
    assert "it had 5 MB" in result.stdout
    assert (project.folder / "sidelane.db").stat().st_size < before / 10


def test_vacuum_says_what_it_blocks_and_needs_before_it_begins(driver: StoreDriver, sidelane: Command) -> None:
    grow_and_empty(driver)
    result = sidelane("store", "vacuum")
    assert result.exit_code == 2
    text = " ".join(result.stderr.replace("│", " ").split())
    assert "no process can submit, start or finish a job" in text
    assert "of free disk space" in text
    assert sidelane("store", "show", "--json").json["free"] > 1_000_000


def test_vacuum_of_a_full_file_changes_nothing(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("a")
    result = sidelane("store", "vacuum", "--json")
    assert result.exit_code == 0
    assert result.json["before"] == result.json["after"] > 0


def test_backup_can_be_used_as_a_store(driver: StoreDriver, project: Project, sidelane: Command) -> None:
    driver.submit("a")
    result = sidelane("store", "backup", "copy.db")
    assert result.exit_code == 0
    assert "1 job, checked" in result.stdout
    copy = project.folder / "copy.db"
    assert copy.stat().st_mode & 0o777 == 0o600
    assert StoreDriver(f"sqlite:///{copy}").record("a").spec.id == "a"


def test_backup_replaces_a_file_only_by_force(driver: StoreDriver, project: Project, sidelane: Command) -> None:
    driver.submit("a")
    copy = project.write("copy.db", "mine")
    result = sidelane("store", "backup", "copy.db")
    assert result.exit_code == 1
    assert "exists and was not changed" in result.stderr
    assert copy.read_text() == "mine"
    document = sidelane("store", "backup", "copy.db", "--force", "--json").json
    assert document["file"] == str(copy)
    assert document["size"] == copy.stat().st_size
    assert document["jobs"] == 1


def test_a_server_is_shown_with_memory_and_persistence(server: RunningServer, sidelane: Command) -> None:
    server.start("--requirepass", "hidden-value", "--maxmemory", "500mb")
    url = server.url(password="hidden-value")
    StoreDriver(url).submit("a")
    result = sidelane("store", "show", "--store", url)
    assert result.exit_code == 0
    assert "hidden-value" not in result.stdout + result.stderr
    assert "on, appendfsync everysec" in result.stdout
    assert "at most 524 MB" in result.stdout
    assert "1 queued" in result.stdout


def test_a_server_shared_with_other_keys_counts_only_its_own(server: RunningServer, sidelane: Command) -> None:
    server.start()
    StoreDriver(server.url()).submit("a")
    alone = sidelane("store", "show", "--json", "--store", server.url()).json["size"]
    for number in range(20):
        server.tell("SET", f"foreign:{number}", "x" * 100_000)
    shared = sidelane("store", "show", "--json", "--store", server.url()).json["size"]
    assert 0 < shared < 10 * alone
    assert shared < 1_000_000  # the foreign keys have two


def test_a_server_needs_no_vacuum_and_is_backed_up_by_its_own_files(
    server: RunningServer, project: Project, sidelane: Command
) -> None:
    server.start()
    StoreDriver(server.url()).submit("a")
    result = sidelane("store", "vacuum", "--store", server.url())
    assert result.exit_code == 0
    assert "no vacuum is needed" in result.stderr
    result = sidelane("store", "backup", "copy.rdb", "--store", server.url())
    assert result.exit_code == 1
    assert "BGSAVE" in result.stderr
    assert not (project.folder / "copy.rdb").exists()


def test_a_user_of_one_store_alone_sees_its_jobs_but_not_its_share_of_the_memory(
    server: RunningServer, sidelane: Command
) -> None:
    server.start()
    server.tell("SET", "foreign", "x" * 100_000)
    rights = ("~{shop}*", "&{shop}*", "+@all", "-@admin", "-@dangerous", "+info")  # as in docs/stores.md
    server.tell("ACL", "SETUSER", "shop", "on", ">hidden-value", *rights)
    url = f"redis://shop:hidden-value@127.0.0.1:{server.port}/0?name=shop"
    StoreDriver(url).submit("a")
    document = sidelane("store", "show", "--json", "--store", url).json
    assert document["size"] is None
    assert document["jobs"]["queued"] == 1
    shown = sidelane("store", "show", "--store", url)
    assert "unknown" in shown.stdout
    assert sidelane("check", "--store", url, env={"SIDELANE_SECRET": "s" * 32}).exit_code == 0
