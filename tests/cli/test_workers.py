"""`sidelane workers --ended`: workers whose process died, and how. `test_jobs.py` tests the live ones."""

from dataclasses import replace

from sidelane.client.maintenance import report_worker_exit
from tests.cli.command import Command
from tests.cli.store_driver import LEASE, WORKER, StoreDriver

HOW = "killed by the kernel, because the machine had no memory left"


def test_a_worker_that_died_is_listed_with_how_and_its_jobs(driver: StoreDriver, sidelane: Command) -> None:
    lease = driver.claim(driver.submit("one"))
    died = replace(WORKER, release="8ac11e0", memory=300_000_000)
    driver.heartbeat(died, [lease])
    driver.call(lambda store: report_worker_exit(store, died.id, HOW, lease=LEASE))
    (found,) = sidelane("workers", "--ended", "--json").json
    assert (found["id"], found["name"], found["reason"]) == (WORKER.id, "w1", HOW)
    assert (found["jobs"], found["release"]) == (["one"], "8ac11e0")
    table = sidelane("workers", "--ended", env={"COLUMNS": "80"}).stdout
    assert "w1" in table
    assert "killed by the kernel" in table
    assert max(map(len, table.splitlines())) <= 80


def test_without_a_death_it_says_so(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    assert "No worker has died" in sidelane("workers", "--ended").stderr
    assert sidelane("workers", "--ended", "--json").json == []
