"""What a killed supervisor or parent leaves, and how the next command repairs it."""

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest

from sidelane.model.errors import ConfigurationError, NoSupervisor, UnknownGroup
from sidelane.model.job import State
from sidelane.ops.group_commands import restart, scale
from sidelane.ops.state import AlreadyAtWork, Leftover, StateDirectory, find_processes, private_folder
from sidelane.processes.usage import started_at
from tests.ops.service import WAIT, Service, wait_until
from tests.system.shop import gate_of

pytestmark = pytest.mark.system


@pytest.fixture
def other_program() -> Iterator[int]:
    """The process id of a program that has nothing to do with the service."""
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as process:
        yield process.pid
        process.kill()


@pytest.mark.long
def test_down_leaves_only_logs(service: Service) -> None:
    assert service.up(service.program("chat"), service.program("mail", depends_on=("chat",)))
    assert service.down()
    assert service.left() == []
    assert service.state.log("chat").exists()
    stopped = [each.split()[0] for each in service.progress.reports if "has stopped" in each]
    assert stopped == ["mail", "chat"]


@pytest.mark.long
@pytest.mark.parametrize("in_time", [True, False])
def test_down_says_what_became_of_running_jobs(service: Service, in_time: bool) -> None:
    assert service.up(service.worker("chat"))
    job = service.store.submit("job", "hold", queue="default", arguments="{}")
    wait_until(lambda: service.store.record(job).state is State.RUNNING, "the start of the job")
    if in_time:
        service.on_waiting = (service.folder / gate_of("shop")).touch
    assert service.down(timeout=None if in_time else 0.5)
    outcome = "it ended first" if in_time else "0 ended first and 1 was given back to the queue"
    assert f"1 job was running; {outcome}" in service.progress.texts
    assert service.store.record(job).state is (State.SUCCEEDED if in_time else State.QUEUED)
    assert service.left() == []


@pytest.mark.long
def test_down_of_one_group_leaves_the_others(service: Service) -> None:
    assert service.up(service.program("chat"), service.program("mail"))
    assert service.down("mail")
    assert service.processes()["chat"].running
    assert service.status().exit_code == 0


def test_down_without_a_service_reports_so(service: Service) -> None:
    assert service.down()
    assert "nothing runs" in service.progress.texts


@pytest.mark.long
def test_twenty_rounds_leave_nothing(service: Service) -> None:
    for _ in range(20):
        assert service.up(service.program("chat"), service.program("api"))
        assert service.down()
        assert service.left() == []


@pytest.mark.long
def test_up_after_a_killed_supervisor_ends_what_it_left(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidelane.ops.state.STOP_TIMEOUT", 1.0)
    stubborn = service.program("chat", f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}")
    assert service.up(stubborn, service.program("mail"))
    assert scale(service.state, {"mail": 3}, service.progress)
    before, supervisor = find_processes(service.state), service.supervisor()
    os.kill(supervisor, signal.SIGKILL)
    wait_until(lambda: started_at(supervisor) is None, "the end of the supervisor")
    assert service.up(stubborn, service.program("mail"))
    assert "of its processes still run and are ended now" in service.progress.texts
    assert not any(each.alive for each in before)
    assert service.supervisor() != supervisor
    assert service.status().document["groups"][1]["target"] == 3, "the number of processes stays"
    assert len(psutil.Process(service.supervisor()).children()) == 2


PRINTING = """
import asyncio
from pathlib import Path
from sidelane import Sidelane

lane = Sidelane()

@lane.task
async def talk() -> int:
    count = 0
    while count < 50 or not Path("gate").exists():
        print("x" * 10_000, flush=True)
        count += 1
        await asyncio.sleep(0.005)
    return count
"""


@pytest.mark.long
@pytest.mark.parametrize("killed", ["supervisor", "parent"])
def test_job_that_prints_ends_after_its_output_lost_its_reader(service: Service, killed: str) -> None:
    (service.folder / "printing.py").write_text(PRINTING)
    command = ("sidelane", "worker", "printing:lane", "--name", "chat", "--processes", "1")
    assert service.up(replace(service.worker("chat"), command=command))
    job = service.store.submit("job", "talk", queue="default", arguments="{}")
    wait_until(lambda: service.store.record(job).state is State.RUNNING, "the start of the job")
    supervisor, parent = service.supervisor(), service.pids()["chat"]
    os.kill(supervisor if killed == "supervisor" else parent, signal.SIGKILL)
    wait_until(lambda: started_at(supervisor if killed == "supervisor" else parent) is None, "its end")
    (service.folder / "gate").touch()
    wait_until(lambda: service.store.record(job).state is not State.RUNNING, "the end of the job")
    record = service.store.record(job)
    assert record.state is State.SUCCEEDED, record.history
    assert record.attempt == 1


def test_down_after_a_killed_supervisor_ends_what_it_left(service: Service) -> None:
    assert service.up(service.program("chat"))
    os.kill(service.supervisor(), signal.SIGKILL)
    service.down()
    assert service.left() == []


def test_killed_parent_is_started_again(service: Service) -> None:
    assert service.up(service.program("chat"))
    before = service.pids()["chat"]
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: service.pids()["chat"] not in (0, before), "a new parent")
    wait_until(lambda: service.status().exit_code == 0, "that the group is ready")


def test_pid_file_with_the_id_of_another_program_is_repaired(service: Service, other_program: int) -> None:
    service.state.prepare(["chat"])
    service.state.pid_file.write_text(f"{other_program}\n")
    assert service.up(service.program("chat"))
    assert f"names PID {other_program}, which is another program now (python" in service.progress.texts
    assert started_at(other_program) is not None


def test_leftover_whose_id_is_another_programs_now_gets_no_signal(other_program: int) -> None:
    Leftover(pid=other_program, started=1.0, title="a worker", parent=1).send(signal.SIGKILL)
    assert started_at(other_program) is not None


@pytest.mark.long
def test_second_command_at_once_names_the_first(service: Service) -> None:
    results: list[bool | str] = []
    barrier = threading.Barrier(2)

    def start() -> None:
        barrier.wait()
        try:
            results.append(Service(service.folder).up(service.program("chat", WAIT, "--ready-delay", "1")))
        except AlreadyAtWork as error:
            results.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(2)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert True in results
    (refusal,) = [each for each in results if each is not True]
    assert f"`sidelane up` (PID {os.getpid()}) is at work in {service.state.path}" in str(refusal)
    assert len(psutil.Process(service.supervisor()).children()) == 1


def test_lock_that_was_left_by_a_killed_command_does_not_block_the_next(service: Service) -> None:
    service.state.prepare(["chat"])
    service.state.lock_file.write_text("1 sidelane up")
    with service.state.lock("sidelane down"):
        pass
    assert not service.state.lock_file.exists()


@pytest.mark.long
def test_sockets_move_if_the_path_is_too_long(service: Service) -> None:
    service.state = StateDirectory(service.folder / ("deep" * 20) / ".sidelane")
    folder = private_folder(service.state.path)
    assert service.up(service.program("chat"))
    assert f"is too long for sockets; they are in {folder}" in service.progress.texts
    assert folder.stat().st_mode & 0o777 == 0o700
    assert service.status().exit_code == 0
    assert service.down()
    assert service.left() == []
    assert not folder.exists()


def test_folder_for_sockets_that_is_open_to_others_is_refused(service: Service) -> None:
    service.state = StateDirectory(service.folder / ("deep" * 20) / ".sidelane")
    folder = private_folder(service.state.path)
    folder.mkdir()
    folder.chmod(0o777)
    try:
        with pytest.raises(ConfigurationError, match="belongs to another user or is open to others"):
            service.up(service.program("chat"))
    finally:
        folder.rmdir()


def test_scale_and_restart_report_what_the_group_says(service: Service) -> None:
    assert service.up(service.program("chat"))
    assert scale(service.state, {"chat": 2}, service.progress)
    assert restart(service.state, (), service.progress)
    steps = "\n".join(service.progress.reports)
    assert re.search(r"chat: chat-2@\S+ is ready", steps)
    assert re.search(r"chat: chat-\d@\S+ is ready; chat-\d@\S+ finishes its work", steps)


@pytest.mark.long
def test_scale_of_an_unknown_group_names_the_groups(service: Service) -> None:
    assert service.up(service.program("chat"))
    with pytest.raises(UnknownGroup, match=r"no group 'chatt'. Did you mean 'chat'\? The groups are chat"):
        scale(service.state, {"chatt": 2}, service.progress)


def test_scale_without_a_supervisor_is_one_sentence(service: Service) -> None:
    with pytest.raises(NoSupervisor, match=r"No supervisor runs in .*Start the service with `sidelane up`"):
        scale(service.state, {"chat": 2}, service.progress)


@pytest.mark.long
def test_down_forgets_the_number_of_processes(service: Service) -> None:
    assert service.up(service.program("chat"))
    assert scale(service.state, {"chat": 3}, service.progress)
    assert service.down()
    assert service.up(service.program("chat"))
    assert service.status().document["groups"][0]["target"] == 1
