"""`sidelane tasks`: the tasks that workers have or that ran, with their history."""

import re

from sidelane.model.history import Usage
from sidelane.model.outcome import AttemptResult, Succeeded
from sidelane.model.worker import ClaimRequest
from sidelane.stores.contract import Store
from tests.cli.command import Command
from tests.cli.store_driver import LEASE, WORKER, StoreDriver


def run(driver: StoreDriver, job_id: str, release: str) -> None:
    """Run a job of the task `answer` by a worker of a release."""
    driver.submit(job_id)
    request = ClaimRequest(request=job_id, worker=WORKER.id, queues={"chat": 1}, lease=LEASE, release=release)

    async def act(store: Store) -> None:
        (claimed,) = (await store.claim(request)).jobs
        usage = Usage(input_tokens=10, output_tokens=30, cost=0.5)
        await store.finish([AttemptResult(lease=claimed.lease, outcome=Succeeded("1"), usage=usage)])

    driver.call(act)


def test_tasks_of_workers_are_listed_before_they_ran(driver: StoreDriver, sidelane: Command) -> None:
    driver.heartbeat()
    lines = sidelane("tasks").stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["NAME", "answer"]
    assert sidelane("tasks", "--json").json["tasks"][0]["started"] == 0


def test_a_task_shows_its_runs_of_the_last_day(driver: StoreDriver, sidelane: Command) -> None:
    run(driver, "one", "8ac11e0")
    headers, line, mark = sidelane("tasks", env={"COLUMNS": "80"}).stdout.splitlines()
    assert headers.split()[:4] == ["NAME", "STARTS", "STARTED", "FAILED"]
    assert re.fullmatch(r"answer +·*█·* +1 +0\.0 % .*", line)
    assert mark.startswith("release 8ac11e0 since ")
    (task,) = sidelane("tasks", "--json").json["tasks"]
    assert (task["started"], task["succeeded"], task["output_tokens"], task["cost"]) == (1, 1, 30, 0.5)
    assert [release["release"] for release in task["releases"]] == ["8ac11e0"]


def test_each_release_of_a_task_has_a_line_if_there_are_several(driver: StoreDriver, sidelane: Command) -> None:
    run(driver, "one", "8ac11e0")
    run(driver, "two", "2f91c0d")
    lines = sidelane("tasks", "--since", "1h").stdout.splitlines()
    assert [line.split()[0] for line in lines[:2]] == ["NAME", "answer"]
    assert {line.split()[0] for line in lines[2:4]} == {"8ac11e0", "2f91c0d"}


def test_a_store_without_tasks_says_so(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("callback", task="sidelane.callback", queue="sidelane.callbacks")
    result = sidelane("tasks")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.endswith(" yet.\n")
