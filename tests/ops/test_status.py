"""`sidelane status`: the document, its exit code, and what is printed."""

import os
import re
import signal
import socket
import time

import pytest

from sidelane.cli.output.service_status import print_status
from sidelane.model.worker import WorkerInfo
from sidelane.processes.exit_code import Exit
from tests.ops.service import Service, wait_until

pytestmark = pytest.mark.system


@pytest.fixture
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.long
def test_document_has_groups_processes_and_queues(service: Service) -> None:
    assert service.up(service.worker("chat", processes=2), service.program("model"))
    found = service.status()
    assert found.exit_code is Exit.DONE
    assert found.document["healthy"]
    assert found.document["supervisor"] == {"pid": service.supervisor()}
    chat, model = found.document["groups"]
    assert (chat["name"], chat["kind"], chat["state"], chat["ready"], chat["target"]) == (
        "chat",
        "worker",
        "ready",
        2,
        2,
    )
    assert (model["name"], model["kind"], model["running"]) == ("model", "command", None)
    assert {each["state"] for each in chat["processes"]} == {"ready"}
    assert chat["memory"] > sum(each["memory"] for each in chat["processes"]) > 0
    assert "default" in [each["name"] for each in found.document["queues"]]
    assert len(found.document["workers"]) == 2
    assert found.document["unfinished"] == 0


def test_nothing_runs(service: Service, capfd: pytest.CaptureFixture[str]) -> None:
    found = service.status()
    assert found.exit_code is Exit.UNKNOWN
    print_status(found.document, processes=False)
    assert "Nothing runs here" in capfd.readouterr().err


def test_workers_of_other_hosts_are_shown_without_a_supervisor(
    service: Service, capfd: pytest.CaptureFixture[str], narrow: None
) -> None:
    service.store.heartbeat(
        WorkerInfo(
            id="w", name="chat-1@pod", host="pod-7", pid=12, queues={"chat": 5}, slots=5, memory=70_000_000, cpu=0.25
        )
    )
    found = service.status()
    assert found.exit_code is Exit.DONE
    print_status(found.document, processes=False)
    assert re.search(r"chat-1@pod +● ok +0 of 5 +25 % +70 MB +pod-7 +12 +chat", capfd.readouterr().out)


@pytest.mark.long
def test_group_that_failed_is_not_healthy(service: Service, capfd: pytest.CaptureFixture[str], narrow: None) -> None:
    assert not service.up(service.parent("broken", "raise SystemExit(3)"), service.program("model"))
    found = service.status()
    assert found.exit_code is Exit.FAILED
    print_status(found.document, processes=False)
    printed = capfd.readouterr()
    assert re.search(r"broken +● failed", printed.out)
    assert "broken: its parent ended with exit status 3; see `sidelane logs broken`" in printed.err


@pytest.mark.long
def test_group_that_was_stopped_is_no_error(service: Service) -> None:
    assert service.up(service.program("chat"), service.program("mail"))
    service.down("mail")
    found = service.status()
    assert found.exit_code is Exit.DONE
    assert [each["state"] for each in found.document["groups"]] == ["ready", "stopped"]


def test_last_unexpected_exit_of_a_process_is_shown(
    service: Service, capfd: pytest.CaptureFixture[str], narrow: None
) -> None:
    assert service.up(service.program("model"))
    os.kill(service.status().document["groups"][0]["processes"][0]["pid"], signal.SIGKILL)
    wait_until(lambda: service.status().document["groups"][0]["restarts"] == 1, "the restart")
    print_status(service.status().document, processes=True)
    printed = capfd.readouterr()
    assert re.search(r"model: model-1@\S+ ended .*: signal SIGKILL", printed.err)


@pytest.mark.long
@pytest.mark.parametrize("stuck", ["parent", "supervisor"])
def test_stuck_process_does_not_hold_up_the_status(service: Service, stuck: str) -> None:
    assert service.up(service.program("chat"), service.program("mail"))
    pid = service.pids()["chat"] if stuck == "parent" else service.supervisor()
    os.kill(pid, signal.SIGSTOP)
    began = time.monotonic()
    found = service.status()
    assert time.monotonic() - began < 10, "each call is bound by half a second"
    assert found.exit_code is Exit.FAILED
    if stuck == "parent":
        assert found.document["groups"][0]["state"] in {"starting", "no answer"}
        assert found.document["groups"][1]["state"] == "ready"
    else:
        assert "did not answer" in found.document["error"]


def test_store_that_cannot_be_reached_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("SIDELANE_STORE", f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
        found = service.status()
    assert found.exit_code is Exit.UNKNOWN
    assert found.document["store"]["error"]


@pytest.mark.long
def test_status_fits_80_columns(service: Service, capfd: pytest.CaptureFixture[str], narrow: None) -> None:
    assert service.up(service.worker("a-worker-group-with-a-long-name"))
    print_status(service.status().document, processes=True)
    lines = capfd.readouterr().out.splitlines()
    assert len(lines) > 4
    assert max(map(len, lines)) <= 80
