"""Checks of a described service, of clocks and of disks."""

import os
import resource
import shutil
import socket
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path

import pytest

from sidelane import Queue, Sidelane
from sidelane.admin.check_results import CheckResult, Report, Severity, ok, warning
from sidelane.admin.store_checks import check_clock, check_modes, check_space, check_versions
from sidelane.ops.checkup import check_up
from sidelane.ops.service_checks import check_open_files, check_ports, running_programs, service_groups
from sidelane.stores.clock import NEW_YEAR_2027, ManualClock
from sidelane.stores.factory import open_store
from tests.cli.store_driver import StoreDriver
from tests.contract.servers import free_port
from tests.ops.descriptions import load
from tests.ops.service import Service

Check = Callable[[str], Report]

SECRET = "s" * 32

API = """
[api.web]
app = "main:app"
port = {port}
"""


@pytest.fixture
def check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Check:
    """Write a description, and check it with a usable store. The lane has a task of 100 s."""
    monkeypatch.chdir(tmp_path)
    url = f"sqlite:///{tmp_path / 'sidelane.db'}"
    monkeypatch.setenv("SIDELANE_STORE", url)
    monkeypatch.delenv("SIDELANE_SECRET", raising=False)
    StoreDriver(url).submit("a")
    lane = Sidelane(queues=[Queue("chat")])

    @lane.task(queue="chat", timeout=100)
    async def answer() -> None: ...

    def made(text: str) -> Report:
        (tmp_path / "sidelane.toml").write_text(text, "utf-8")
        return check_up(tmp_path, lambda reference: lane, lane="shop.lane:lane")

    return made


@pytest.fixture
def taken() -> Iterator[int]:
    """A port on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


def about(report: Report, check: str, severity: Severity = Severity.WARNING) -> list[CheckResult]:
    return [each for each in report.results if each.id == check and each.severity is severity]


def test_a_sound_service_has_no_warning(check: Check) -> None:
    report = check(API.format(port=free_port()) + '\n[worker.chat]\nlane = "shop.lane:lane"\nqueues = ["chat=20"]\n')
    assert report.severity is Severity.OK, report.results
    assert report.left_out == ()
    assert "web, chat" in about(report, "description", Severity.OK)[0].message


def test_a_port_that_another_program_holds_is_an_error(check: Check, taken: int) -> None:
    report = check(API.format(port=taken))
    (found,) = about(report, "ports", Severity.ERROR)
    assert f"port {taken}" in found.message
    assert "uses it" in found.message
    assert "'web'" in found.action
    assert "sidelane.toml" in found.action


def test_a_port_that_the_running_service_holds_is_no_problem(tmp_path: Path, taken: int) -> None:
    description = load(tmp_path, API.format(port=taken))
    (found,) = check_ports(description, running={"web"})
    assert found == ok("ports", f"Ports of the service: held by the running service: 127.0.0.1:{taken}.")


@pytest.mark.long
@pytest.mark.system
def test_running_groups_are_those_of_the_supervisor(service: Service) -> None:
    assert running_programs(service.state) == frozenset()
    assert service.up(service.program("model"))
    assert running_programs(service.state) == {"model"}


def test_a_stop_timeout_shorter_than_the_drain_is_reported(check: Check) -> None:
    worker = '[worker.chat]\nlane = "shop.lane:lane"\nstop_timeout = 30\n'
    (found,) = about(check(worker), "timeouts")
    assert "Group 'chat': its processes are killed 30 s after a stop began" in found.message
    assert "up to 105 s" in found.message  # the task's timeout and its grace
    assert "more than 105" in found.action
    assert about(check(worker.replace("30", "120")), "timeouts") == []


def test_a_stop_timeout_is_compared_with_the_queues_that_the_group_serves(check: Check) -> None:
    text = '[worker.light]\nlane = "shop.lane:lane"\nqueues = ["default"]\nstop_timeout = 40\n'
    assert about(check(text), "timeouts") == []


def test_a_shutdown_timeout_of_the_group_itself_counts(check: Check) -> None:
    text = (
        '[worker.chat]\nlane = "shop.lane:lane"\nstop_timeout = 120\n'
        'environment = { SIDELANE_SHUTDOWN_TIMEOUT = "600" }\n'
    )
    (found,) = about(check(text), "timeouts")
    assert "up to 600 s" in found.message


def test_a_stop_timeout_shorter_than_that_of_uvicorn_is_reported(check: Check) -> None:
    text = API.format(port=free_port()) + "stop_timeout = 5\noptions = { timeout_graceful_shutdown = 30 }\n"
    (found,) = about(check(text), "timeouts")
    assert "timeout_graceful_shutdown of 30 s" in found.message


def test_a_missing_secret_is_reported_for_several_apis_or_a_public_one(check: Check) -> None:
    two = API.format(port=free_port()) + API.format(port=free_port()).replace("web", "heavy")
    (found,) = about(check(two), "secret")
    assert "several API groups (web, heavy)" in found.message
    public = API.format(port=free_port()) + 'host = "0.0.0.0"\n'
    (found,) = about(check(public), "secret")
    assert "the API listens on 0.0.0.0" in found.message
    assert about(check(API.format(port=free_port())), "secret") == []


def test_a_secret_in_the_description_is_found_and_not_shown(check: Check) -> None:
    report = check(
        f'environment = {{ SIDELANE_SECRET = "{SECRET}" }}\n' + API.format(port=free_port()) + 'host = "0.0.0.0"\n'
    )
    assert about(report, "secret") == []
    assert SECRET not in str(report.document())


def test_groups_with_different_secrets_are_an_error(check: Check) -> None:
    text = "\n".join(
        API.format(port=free_port()).replace("web", name) + f'environment = {{ SIDELANE_SECRET = "{name * 10}" }}'
        for name in ("general", "heavy--")
    )
    (found,) = about(check(text), "secret", Severity.ERROR)
    assert "different values of SIDELANE_SECRET (general, heavy--)" in found.message
    assert "heavy--heavy--" not in str(found)


def test_a_group_with_another_store_is_reported(check: Check) -> None:
    text = API.format(port=free_port()) + 'environment = { SIDELANE_STORE = "redis://:hidden@db:6379/0" }\n'
    (found,) = about(check(text), "store")
    assert "'web' uses another store" in found.message
    assert "hidden" not in found.message


def test_the_store_of_the_description_is_checked(check: Check, tmp_path: Path) -> None:
    other = f"sqlite:///{tmp_path / 'other.db'}"
    StoreDriver(other).submit("a")
    report = check(f'environment = {{ SIDELANE_STORE = "{other}" }}\n' + API.format(port=free_port()))
    assert report.store == other
    assert report.severity is Severity.OK, report.results


def test_a_misspelled_variable_in_the_description_is_reported(check: Check) -> None:
    report = check(API.format(port=free_port()) + 'environment = { SIDELANE_TIMOUT = "5" }\n')
    assert about(report, "configuration")[0].action == "Write SIDELANE_TIMEOUT instead, or remove it."


def test_a_broken_description_is_an_error_and_the_rest_is_checked(check: Check) -> None:
    report = check("[api.web]\nprot = 8000\n")
    (found,) = about(report, "description", Severity.ERROR)
    assert "did you mean" in found.message
    assert about(report, "store", Severity.OK)
    assert [each.id for each in report.left_out] == ["ports"]


def test_open_files_are_compared_with_slots_and_connections(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits: tuple[int, int] = (1024, 1024)
    monkeypatch.setattr(resource, "getrlimit", lambda kind: limits)
    text = (
        API.format(port=free_port()) + "options = { limit_concurrency = 3000 }\n"
        '[worker.many]\nlane = "shop.lane:lane"\nqueues = ["chat=400", "email=200"]\n'
        '[worker.few]\nlane = "shop.lane:lane"\nconcurrency = 10\n'
    )
    description = load(tmp_path, text)
    groups = service_groups(description)
    api, many = check_open_files(groups[0].settings, groups)
    assert "3,000 connections and streams need about 3,100" in api.message
    assert "'many'" in many.message
    assert "600 jobs at once need about 1,300" in many.message
    limits = (1024, 100_000)  # `sidelane up` may raise its limit
    assert [each.severity for each in check_open_files(groups[0].settings, groups)] == [Severity.OK]


@pytest.mark.parametrize(("skew", "text"), [(-90.0, "90.0 s ahead of"), (90.0, "90.0 s behind")])
async def test_a_clock_that_differs_from_the_stores_is_reported(skew: float, text: str) -> None:
    store = await open_store("sqlite://:memory:", clock=ManualClock(NEW_YEAR_2027 + skew))
    found = await check_clock(store, now=lambda: NEW_YEAR_2027)
    await store.close()
    assert found.severity is Severity.WARNING
    assert f"The clock of this machine is {text} the store's" in found.message


async def test_a_slow_answer_is_no_skew() -> None:
    times = iter([NEW_YEAR_2027 - 20, NEW_YEAR_2027 + 0.9])
    store = await open_store("sqlite://:memory:", clock=ManualClock())
    assert (await check_clock(store, now=lambda: next(times))).severity is Severity.OK
    await store.close()


def test_a_nearly_full_disk_is_reported_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    folders = {tmp_path: "the store", tmp_path / "missing": "nothing", tmp_path.parent: "the files"}
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(total=10**12, free=2 * 10**9))
    (found,) = check_space(folders)  # 0.2 % of a large disk
    assert found.severity is Severity.WARNING
    assert "The disk with the store and the files" in found.message
    assert "2.0 GB free of 1,000.0 GB" in found.message
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(total=2 * 10**9, free=9 * 10**8))
    assert [each.severity for each in check_space(folders)] == [Severity.WARNING]
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(total=10**11, free=10**10))
    assert [each.severity for each in check_space(folders)] == [Severity.OK]


def test_a_file_that_this_user_cannot_write_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may write everything
    (found,) = check_modes({tmp_path: "the folder of files", tmp_path / "missing": "nothing"})
    assert found.severity is Severity.ERROR
    assert f"cannot write to the folder of files {tmp_path}" in found.message


def test_packages_older_than_required_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        metadata,
        "requires",
        lambda name: ["apsw>=999.1", 'redis[hiredis]>=8.1; extra == "redis"', "none>=1"],
    )
    (found,) = check_versions("3.12.1", None)
    assert found.severity is Severity.WARNING
    assert "apsw" in found.message
    assert found.action == "pip install --upgrade 'apsw>=999.1'"


def test_a_reports_severity_is_that_of_its_worst_result() -> None:
    assert Report.of(None, []).severity is Severity.OK
    assert Report.of(None, [ok("a", "fine"), warning("b", "not fine", "change it")]).severity is Severity.WARNING
