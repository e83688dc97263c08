"""`sidelane check`: what it finds about settings, lane, store and machine, and its exit codes."""

import base64
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from sidelane.transports import endpoints
from tests.cli.command import Command, CommandResult
from tests.cli.project import Project
from tests.cli.store_driver import StoreDriver
from tests.contract.servers import EVERY_KIND, RunningServer

CONTRADICTORY = """
from sidelane import Queue, Sidelane, Sqs

lane = Sidelane(queues=[Queue("chat")])


@lane.task(queue="chat", timeout=60, deadline=10)
async def short() -> None: ...


@lane.task(timeout=300)
async def long() -> None: ...


transcribe = lane.external_task(
    "transcribe", input=str, result=str, send_to=Sqs("audio"), replies_from=Sqs("audio"), timeout=50_000
)
"""

CALLERS = """
from sidelane import Sidelane, Webhook

lane = Sidelane()


@lane.task(callback=Webhook("https://example.com/paid", secret="billing"))
async def pay() -> None: ...
"""


@pytest.fixture(autouse=True)
def modules(project: Project) -> Iterator[None]:
    """Unload the project's modules after each test."""
    before, path = set(sys.modules), list(sys.path)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] in {"shop", "contradictory", "callers"}:
            del sys.modules[name]
    sys.path[:] = path


@pytest.fixture(params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningServer]:
    folder = tmp_path / "server"
    folder.mkdir()
    running = RunningServer(request.param, folder)
    yield running
    running.stop()


def results(result: CommandResult) -> dict[str, list[tuple[str, str, str]]]:
    """Return severity, message and action of each result, by the name of the check."""
    found: dict[str, list[tuple[str, str, str]]] = {}
    for each in result.json["results"]:
        found.setdefault(each["id"], []).append((each["severity"], each["message"], each["action"]))
    return found


def test_a_usable_installation_passes(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("a")
    result = sidelane("check", "--lane", "shop.lane:lane")
    assert result.exit_code == 0
    assert f"{driver.url} (SQLite {apsw.sqlite_lib_version()}) accepts jobs." in result.stdout
    assert result.stderr == ""
    assert "!" not in result.stdout
    assert "-  ports            not checked: there is no sidelane.toml" in result.stdout


def test_json_has_every_result_and_what_was_left_out(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("a")
    document = sidelane("check", "--json").json
    assert document.keys() == {"severity", "store", "results", "left_out"}
    assert (document["severity"], document["store"]) == ("ok", driver.url)
    assert {"id", "severity", "message", "action"} == document["results"][0].keys()
    assert [each["id"] for each in document["results"]] == [
        "configuration", "store", "durability", "clock", "secret", "open-files", "permissions", "disk", "versions",
    ]  # fmt: skip
    assert {each["id"] for each in document["left_out"]} == {"ports", "timeouts", "webhook-secrets", "extras"}
    assert all(each["reason"] for each in document["left_out"])


def test_the_lane_of_the_settings_is_checked(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("a")
    document = sidelane("check", "--json", env={"SIDELANE_LANE": "shop.lane:lane"}).json
    assert {"lane", "timeouts", "webhook-secrets", "extras"} <= {each["id"] for each in document["results"]}
    assert [each["id"] for each in document["left_out"]] == ["ports"]


def test_every_line_fits_a_narrow_terminal(project: Project, driver: StoreDriver) -> None:
    driver.submit("a")
    process = project.start_on_terminal("check", columns=80)
    assert process.exit_code() == 0
    assert max(map(len, process.output.splitlines())) <= 80
    assert "add --lane" in " ".join(process.output.split())


def test_a_missing_file_is_not_created(project: Project, sidelane: Command) -> None:
    result = sidelane("check")
    assert result.exit_code == 3
    assert "There is no store at" in result.stdout
    assert "not checked: the store cannot be used" in result.stdout
    assert not (project.folder / "sidelane.db").exists()


def test_settings_that_cannot_be_read_exit_with_3(project: Project, sidelane: Command) -> None:
    result = sidelane("check", "--json", env={"SIDELANE_CONCURRENCY": "many"})
    assert result.exit_code == 3
    ((severity, message, action),) = results(result)["configuration"]
    assert severity == "error"
    assert "SIDELANE_CONCURRENCY" in message
    assert "sidelane config" in action


def test_a_lane_that_cannot_be_imported_exits_with_3(project: Project, driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("a")
    project.write("unimportable.py", "import nothing_like_this")
    result = sidelane("check", "--json", "--lane", "unimportable:lane")
    assert result.exit_code == 3
    found = results(result)
    assert "nothing_like_this" in found["lane"][0][1]
    assert found["store"][0][0] == "ok"  # the other checks are made all the same


def test_a_misspelled_variable_is_reported(driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("a")
    result = sidelane("check", "--json", env={"SIDELANE_CONCURENCY": "5"})
    assert result.exit_code == 1
    assert results(result)["configuration"] == [
        (
            "warning",
            "SIDELANE_CONCURENCY has no effect, because there is no such setting.",
            "Write SIDELANE_CONCURRENCY instead, or remove it.",
        )
    ]


def test_an_in_memory_store_is_reported_as_not_durable(sidelane: Command) -> None:
    result = sidelane("check", "--json", "--store", "sqlite://:memory:")
    assert result.exit_code == 1
    ((severity, message, action),) = results(result)["durability"]
    assert (severity, action) == ("warning", "Use a file or a server, e.g. sqlite:///sidelane.db.")
    assert "The store may lose jobs: it is in the memory of one process" in message


def test_files_that_others_can_read_are_reported(project: Project, driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("a")
    file, folder = project.folder / "sidelane.db", project.folder / "sidelane-files"
    file.chmod(0o640)
    folder.mkdir()
    folder.chmod(0o755)
    result = sidelane("check", "--json")
    assert result.exit_code == 1
    assert {action for _, _, action in results(result)["permissions"]} >= {f"chmod 600 {file}", f"chmod 700 {folder}"}
    file.chmod(0o600)
    folder.chmod(0o700)
    assert [severity for severity, *_ in results(sidelane("check", "--json"))["permissions"]] == ["ok"]


def test_too_few_open_files_for_the_concurrency_are_reported(project: Project, driver: StoreDriver) -> None:
    driver.submit("a")
    limited = f"ulimit -n 256 && exec {sys.executable} -m sidelane.cli check --json"
    environ = {**os.environ, "SIDELANE_CONCURRENCY": "400"}
    done = subprocess.run(
        ["/bin/sh", "-c", limited], cwd=project.folder, env=environ, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    ((severity, message, action),) = results(CommandResult(1, done.stdout, ""))["open-files"]
    assert severity == "warning"
    assert "256 open files" in message
    assert "400 jobs at once" in message
    assert "ulimit -n 900" in action


def test_timeouts_of_a_lane_that_contradict_each_other_are_reported(
    project: Project, driver: StoreDriver, sidelane: Command
) -> None:
    driver.submit("a")
    project.write("contradictory.py", CONTRADICTORY)
    result = sidelane("check", "--json", "--lane", "contradictory:lane", env={"SIDELANE_SHUTDOWN_TIMEOUT": "20"})
    assert result.exit_code == 1
    deadline, visibility, shutdown = [message for _, message, _ in results(result)["timeouts"]]
    assert "Task 'short': its deadline of 10 s ends before its timeout of 60 s" in deadline
    assert "Task 'transcribe': its timeout of 50000 s is longer than SQS hides a message" in visibility
    assert "waits 20 s for its jobs (shutdown_timeout), but short, long may run longer, up to 305 s" in shutdown


def test_a_lease_longer_than_any_task_is_reported(project: Project, driver: StoreDriver, sidelane: Command) -> None:
    driver.submit("a")
    project.write("contradictory.py", CONTRADICTORY)
    result = sidelane("check", "--json", "--lane", "contradictory:lane", env={"SIDELANE_LEASE_DURATION": "3000"})
    assert any("wait for its lease of 3000 s" in message for _, message, _ in results(result)["timeouts"])


def test_webhook_secrets_that_tasks_name_must_be_set_and_valid(
    project: Project, driver: StoreDriver, sidelane: Command
) -> None:
    driver.submit("a")
    project.write("callers.py", CALLERS)
    missing = sidelane("check", "--json", "--lane", "callers:lane")
    assert missing.exit_code == 1
    ((severity, message, action),) = results(missing)["webhook-secrets"]
    assert severity == "error"
    assert "There is no secret 'billing'" in message
    assert "Task 'pay' cannot send without it" in message
    assert "SIDELANE_WEBHOOK_SECRET_BILLING" in action
    short = sidelane("check", "--json", "--lane", "callers:lane", env={"SIDELANE_WEBHOOK_SECRET_BILLING": "whsec_YWJj"})
    assert "at least 24 bytes" in results(short)["webhook-secrets"][0][1]
    secret = "whsec_" + base64.b64encode(b"x" * 32).decode()
    valid = sidelane("check", "--json", "--lane", "callers:lane", env={"SIDELANE_WEBHOOK_SECRET_BILLING": secret})
    assert results(valid)["webhook-secrets"][0][0] == "ok"
    assert secret not in valid.stdout


def test_a_package_that_an_endpoint_needs_is_reported_if_it_is_missing(
    project: Project, driver: StoreDriver, sidelane: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    driver.submit("a")
    project.write("contradictory.py", CONTRADICTORY)
    monkeypatch.setattr(endpoints, "find_spec", lambda name: None)
    found = results(sidelane("check", "--json", "--lane", "contradictory:lane"))
    assert found["extras"] == [
        (
            "error",
            "Task 'transcribe' uses SQS queue audio, and its package is not installed.",
            "pip install 'sidelane[sqs]'",
        )
    ]


def test_a_durable_server_passes(server: RunningServer, sidelane: Command) -> None:
    server.start("--appendfsync", "always", "--requirepass", "hidden-value")
    result = sidelane("check", "--store", server.url(password="hidden-value"), env={"SIDELANE_SECRET": "s" * 32})
    assert result.exit_code == 0
    assert f":********@127.0.0.1:{server.port}" in result.stdout
    assert re.search(r"\((Redis|Valkey) [0-9.]+, appendfsync always\) accepts jobs", result.stdout)
    assert "hidden-value" not in result.stdout + result.stderr


def test_every_durability_problem_of_a_server_is_reported(server: RunningServer, sidelane: Command) -> None:
    server.start("--appendonly", "no", "--maxmemory-policy", "allkeys-lru")
    result = sidelane("check", "--json", "--store", server.url())
    assert result.exit_code == 1
    found = results(result)
    assert found["store"][0][0] == "ok"
    assert [action for _, _, action in found["durability"]] == ["Set appendonly yes.", "Set it to noeviction."]
    assert all(message.startswith("The store may lose jobs: its server ") for _, message, _ in found["durability"])


def test_a_server_that_never_syncs_is_reported_as_not_durable(server: RunningServer, sidelane: Command) -> None:
    server.start("--appendfsync", "no")
    result = sidelane("check", "--store", server.url())
    assert result.exit_code == 1
    assert "appendfsync no" in result.stdout


def test_a_full_server_exits_with_3(server: RunningServer, sidelane: Command) -> None:
    server.start("--maxmemory", "1mb")
    result = sidelane("check", "--store", server.url())
    assert result.exit_code == 3
    assert "is full" in result.stdout
    assert "accepts jobs" not in result.stdout


@pytest.mark.long
def test_an_unreachable_server_exits_with_3(server: RunningServer, sidelane: Command) -> None:
    result = sidelane("check", "--store", server.url())
    assert result.exit_code == 3
    assert "SIDELANE_STORE" in result.stdout
    assert "Traceback" not in result.stdout + result.stderr


def test_a_server_without_the_config_command_passes(server: RunningServer, sidelane: Command) -> None:
    server.start("--rename-command", "CONFIG", "")
    result = sidelane("check", "--store", server.url(), env={"SIDELANE_SECRET": "s" * 32})
    assert result.exit_code == 0
    assert "appendfsync" not in result.stdout


def test_a_server_without_a_secret_of_ours_is_reported(server: RunningServer, sidelane: Command) -> None:
    server.start()
    result = sidelane("check", "--json", "--store", server.url())
    assert result.exit_code == 1
    ((severity, message, action),) = results(result)["secret"]
    assert severity == "warning"
    assert "several machines" in message
    assert "openssl rand" in action


@pytest.mark.parametrize(
    ("address", "severity", "text"),
    [
        ("https://hooks.slack.com/services/hidden-value", "ok", "posted to hooks.slack.com"),
        ("http://10.0.0.1/hidden-value", "warning", "it is a private address"),
        ("https://ann:hidden-value@example.com/", "warning", "not a URL that can be posted to"),
    ],
)
def test_an_address_of_alerts_is_checked_and_not_shown(
    driver: StoreDriver, sidelane: Command, address: str, severity: str, text: str
) -> None:
    driver.heartbeat()
    result = sidelane("check", "--json", env={"SIDELANE_ALERT_URL": address})
    ((found, message, _),) = results(result)["alerts"]
    assert (found, text in message) == (severity, True)
    assert "hidden-value" not in result.stdout
