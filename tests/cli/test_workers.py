"""`sidelane workers`: drain, resume and restart, and workers that died. `test_jobs.py` tests the list."""

from dataclasses import replace

from sidelane.client.maintenance import report_worker_exit
from sidelane.model.worker import WorkerInfo
from tests.cli.command import Command
from tests.cli.store_driver import LEASE, WORKER, StoreDriver

HOW = "killed by the kernel, because the machine had no memory left"


def heartbeat(driver: StoreDriver, worker: WorkerInfo) -> None:
    driver.call(lambda store: store.heartbeat(worker, [], lease=LEASE))


def test_drain_is_shown_until_the_worker_is_resumed(driver: StoreDriver, sidelane: Command) -> None:
    driver.heartbeat()
    result = sidelane("workers", "drain", "w1", "--reason", "new disk")
    assert result.stdout == "✓ w1  asked to drain; 1 job still running\n"
    listed = sidelane("workers", env={"COLUMNS": "80"})
    assert "w1: drain requested by" in listed.stderr
    assert '("new disk"), not taken yet' in listed.stderr.replace("\n", " ")
    (document,) = sidelane("workers", "--json").json
    request = document["request"]
    assert (request["state"], request["action"], request["reason"]) == ("requested", "drain", "new disk")
    heartbeat(driver, replace(WORKER, request="drain", health="drained: it takes no jobs until an operator resumes it"))
    assert 'ago ("new disk"), drained' in sidelane("workers").stderr.replace("\n", " ")
    assert sidelane("workers", "resume", "w1").stdout == "✓ w1  asked to take jobs again\n"
    assert "resumed, but does not know it yet" in sidelane("workers").stderr
    assert [line["action"] for line in sidelane("audit", "--json").json] == ["worker.resume", "worker.drain"]


def test_workers_of_a_queue_are_drained_together(driver: StoreDriver, sidelane: Command) -> None:
    driver.heartbeat()
    heartbeat(driver, replace(WORKER, id="w2:box:1:d", name="w2", queues={"mail": 1}))
    assert [each["name"] for each in sidelane("workers", "drain", "--queue", "gpu", "--json").json] == [WORKER.id]


def test_restart_of_a_worker_in_a_web_process_is_refused(driver: StoreDriver, sidelane: Command) -> None:
    driver.heartbeat()
    result = sidelane("workers", "restart", "w1")
    assert result.exit_code == 1
    assert "inside a process that does other work" in result.stderr.replace("\n", " ")


def test_nothing_named_and_an_unknown_name_are_errors(driver: StoreDriver, sidelane: Command) -> None:
    driver.heartbeat()
    assert sidelane("workers", "drain").exit_code == 2
    unknown = sidelane("workers", "drain", "w9")
    assert unknown.exit_code == 4
    assert "live workers: w1" in unknown.stderr.replace("\n", " ")


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
