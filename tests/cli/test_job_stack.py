"""`sidelane jobs stack`."""

from sidelane.model.job import State
from tests.cli.command import Command
from tests.cli.project import Project, wait_until
from tests.cli.store_driver import StoreDriver


def test_stack_of_a_running_job_fits_80_columns(project: Project, driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one", task="hold", arguments='{"gate":"gate"}')
    project.start("worker", "shop.lane:lane", "--name", "w1")
    wait_until(lambda: driver.record("one").state is State.RUNNING and driver.workers(), "the job runs")

    result = sidelane("jobs", "stack", "one", env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.stderr
    assert max(map(len, result.stdout.splitlines())) <= 80
    assert "  now      it waits on the event loop\n" in result.stdout
    assert "  Stack (most recent call last):\n" in result.stdout
    assert "      await asyncio.sleep(0.01)\n" in result.stdout
    document = sidelane("jobs", "stack", "one", "--json").json
    assert (document["worker"]["name"], document["activity"]) == ("w1", "waits on the event loop")
    assert document["stack"].startswith("Stack (most recent call last):\n  File ")
    (project.folder / "gate").touch()


def test_stack_of_a_job_that_does_not_run_is_a_reason(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("jobs", "stack", "one")
    assert result.exit_code == 1
    assert "the job does not run: its state is queued; no worker is alive" in result.stdout
    document = sidelane("jobs", "stack", "one", "--json").json
    assert (document["id"], document["state"], document["stack"]) == ("one", "queued", None)
    assert document["notice"].startswith("the job does not run")


def test_stack_of_an_unknown_job_is_an_error(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("one")
    result = sidelane("jobs", "stack", "two-unknown")
    assert result.exit_code == 4
    assert "two-unknown" in result.stderr
