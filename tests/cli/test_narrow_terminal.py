"""Tables on a terminal of 80 columns: no line is longer, and no id, name or setting is cut."""

import re
from dataclasses import replace

import pytest

from sidelane.model.job import Failure, JobSpec
from sidelane.model.limit import Limit
from sidelane.model.problem import Problem
from sidelane.model.schedule import Schedule
from tests.cli.command import Command
from tests.cli.store_driver import WORKER, StoreDriver

ID = "0123456789abcdef0123456789abcdef"

LONG = "postprocess_customer_feedback_recordings"

NARROW = {"COLUMNS": "80"}

FAILURE = Failure(
    problem=Problem(status=502), error="APIConnectionError: the model did not answer within its 30 seconds"
)


@pytest.fixture
def filled(driver: StoreDriver) -> StoreDriver:
    """A store with a job, a dead letter, a schedule, a limit and a worker, all with long names."""
    limit = Limit(name=LONG, key="customer-4711", max=1, on_limit="wait")
    driver.claim(driver.submit(ID, task=LONG, user="customer-4711", limits=(limit,)))
    driver.fail(ID[::-1], FAILURE, task=LONG, user="customer-4711")
    spec = JobSpec(id="", task=LONG, queue="chat")
    schedule = Schedule(
        name="nightly-report", spec=spec, cron="*/15 2-4 * * 1-5", timezone="America/Argentina/Buenos_Aires"
    )
    driver.call(lambda store: store.upsert_schedule(schedule))
    driver.submit("waits", queue=LONG, task=LONG)
    driver.heartbeat(replace(WORKER, host="worker-7f6c9d8b5-x2x7p.internal", queues={LONG: 3, "chat": 200}))
    return driver


@pytest.mark.parametrize(
    ("command", "complete"),
    [
        ("jobs", [ID, "running", LONG[:12]]),
        ("dead", [ID[::-1], "APIConnect"]),
        ("queues", ["chat", "READY", "RUNNING", "WORKERS"]),
        ("queues --since 1h", ["chat", "STARTED", "FAILED", "P95"]),
        ("tasks", [LONG[:12], "STARTED", "FAILED", "P50"]),
        ("limits", ["1 of 1", "when a job ends"]),
        ("users", ["customer-4711", "JOBS", "RUN TIME", "COST"]),
        ("schedules", ["nightly-report", "*/15 2-4 * * 1-5", "America/Argentina", "NEXT"]),
        ("workers", ["w1", "1 of 200", "chat"]),
        ("config", ["allow_private_callbacks", "addresses.", "log_level"]),
    ],
)
def test_tables_fit_80_columns(filled: StoreDriver, sidelane: Command, command: str, complete: list[str]) -> None:
    result = sidelane(*command.split(), env=NARROW)
    assert result.exit_code == 0
    assert max(map(len, result.stdout.splitlines())) <= 80, result.stdout
    for text in complete:
        assert text in result.stdout, result.stdout


def test_a_setting_is_wrapped_and_never_cut(sidelane: Command) -> None:
    store = "redis+sentinel://sentinel-1.example.com,sentinel-2.example.com,sentinel-3.example.com/jobs"
    result = sidelane("config", env={**NARROW, "SIDELANE_STORE": store})
    assert "…\n" not in re.sub(r"gs://…", "", result.stdout)
    header, *lines = result.stdout.splitlines()
    value = "".join(line[header.index("VALUE") :].split("  ")[0].strip() for line in lines[:8])
    assert store in value
