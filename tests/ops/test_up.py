"""`sidelane up`: order, checks, changes and failures, under a real supervisord."""

import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from sidelane.model.errors import ConfigurationError, UnknownGroup
from sidelane.ops.state import StateDirectory, find_processes
from tests.ops.service import WAIT, Service, wait_until

pytestmark = pytest.mark.system

EXIT_3 = "raise SystemExit(3)"

LISTEN = "import socket; listener = socket.create_server(('127.0.0.1', {})); listener.accept(); import signal; signal.pause()"


@pytest.fixture
def taken() -> Iterator[tuple[str, int]]:
    """An address on which this process listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()


@pytest.mark.long
def test_groups_start_after_those_that_they_depend_on(service: Service) -> None:
    model, chat = service.program("model", WAIT, "--ready-delay", "0.5"), service.program("chat", depends_on=("model",))
    assert service.up(chat, model)
    assert [each.split()[0] for each in service.progress.reports if "is ready" in each] == ["model", "chat"]
    assert {"chat": "waits for model"}.items() <= service.progress.states[1].items()


@pytest.mark.long
def test_second_up_starts_only_what_is_missing(service: Service) -> None:
    chat, mail = service.program("chat"), service.program("mail", autostart=False)
    assert service.up(chat, mail)
    before = service.pids()
    assert before["mail"] == 0
    assert service.up(chat, mail, names=("mail",))
    assert service.up(chat, mail)
    after = service.pids()
    assert after["chat"] == before["chat"]
    assert after["mail"]
    assert "chat is already running" in service.progress.reports


@pytest.mark.long
def test_group_whose_command_changed_is_started_anew(service: Service) -> None:
    assert service.up(service.program("chat"), service.program("mail"))
    before = service.pids()
    assert service.up(service.program("chat", f"'changed'; {WAIT}"), service.program("mail"))
    after = service.pids()
    assert after["chat"] != before["chat"]
    assert after["mail"] == before["mail"]
    assert "chat has changed (arguments); it is started anew" in service.progress.reports


@pytest.mark.long
def test_changed_number_of_processes_restarts_nothing(service: Service) -> None:
    assert service.up(service.worker("chat"))
    before = service.pids()
    assert service.up(service.worker("chat", processes=2))
    assert service.pids() == before
    assert service.status().document["groups"][0]["target"] == 2


def test_group_that_left_the_description_is_stopped(service: Service) -> None:
    assert service.up(service.program("chat"), service.program("mail"))
    assert service.up(service.program("chat"))
    assert list(service.processes()) == ["chat"]
    assert "mail is no longer in the description; it is stopped" in service.progress.reports


@pytest.mark.long
def test_group_that_cannot_start_shows_its_log_once_and_is_not_started_again(service: Service) -> None:
    broken = service.program("broken", f"print('no module named shop', flush=True); {EXIT_3}", "--ready-log", "never")
    dependent = service.program("dependent", depends_on=("broken",))
    assert not service.up(broken, dependent, service.program("chat"))
    (text, lines), (dependents, _) = service.progress.failures
    assert text.startswith("broken failed: it cannot start (exit status 3).")
    assert [line for line in lines if "no module named shop" in line] == ["no module named shop"]
    assert dependents == "dependent was not started, because broken is not ready."
    states = {name: info.state for name, info in service.processes().items()}
    assert states == {"broken": "EXITED", "dependent": "STOPPED", "chat": "RUNNING"}
    assert service.log("broken").count("no module named shop") == 1


def test_next_up_shows_only_the_log_of_its_own_start(service: Service) -> None:
    assert not service.up(service.parent("broken", f"print('first'); {EXIT_3}"))
    assert not service.up(service.parent("broken", f"print('second'); {EXIT_3}"))
    assert [lines for _, lines in service.progress.failures] == [("second",)]


def test_group_that_gave_up_is_not_started_again(service: Service) -> None:
    assert not service.up(service.parent("broken", "raise SystemExit(6)"))
    assert "gave up" in service.progress.failures[0][0]
    assert service.processes()["broken"].state == "EXITED"


def test_parent_that_crashes_at_once_is_stopped_after_some_starts(service: Service) -> None:
    assert not service.up(service.parent("broken", "print('Segmentation fault'); raise SystemExit(1)"))
    (failure,) = service.progress.failures
    assert failure[0].startswith("broken ended 3 times before it was ready, so it was stopped.")
    assert service.processes()["broken"].ended


@pytest.mark.long
def test_group_that_is_not_ready_in_time_is_named(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidelane.ops.up.READY_MARGIN", 0.0)
    slow = service.program("slow", WAIT, "--ready-log", "never", ready_timeout=1.0)
    assert not service.up(slow, service.program("chat"))
    assert "slow was not ready within 1 s (starting" in service.progress.failures[0][0]
    assert all(info.running for info in service.processes().values())


def test_taken_port_is_refused_before_anything_starts(service: Service, taken: tuple[str, int]) -> None:
    with pytest.raises(ConfigurationError, match=r"api: .*\(PID \d+\).*Nothing was started"):
        service.up(service.program("api", address=taken), service.program("chat"))
    assert find_processes(service.state) == []


@pytest.mark.long
def test_port_of_a_program_that_runs_is_no_error(service: Service) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = listener.getsockname()
    api = service.program("api", LISTEN.format(address[1]), "--ready-tcp", f"127.0.0.1:{address[1]}", address=address)
    assert service.up(api)
    assert service.up(api)


def test_environment_may_have_any_text(service: Service) -> None:
    value = 'it\'s "quoted" %(here)s %d ; no # comment\nsecond line = x,y'
    code = f"import os; print(os.environ['TEXT'], flush=True); {WAIT}"
    assert service.up(service.program("chat", code, environment={"TEXT": value}))
    wait_until(lambda: value in service.log("chat"), "the text in the log")


def test_unknown_group_is_refused_with_a_suggestion(service: Service) -> None:
    with pytest.raises(UnknownGroup, match=r"no group 'chta'. Did you mean 'chat'\? The groups are chat, mail"):
        service.up(service.program("chat"), service.program("mail"), names=("chta",))


def test_state_directory_without_permission_is_one_paragraph(service: Service) -> None:
    (service.folder / "file").touch()
    service.state = StateDirectory(service.folder / "file" / ".sidelane")
    with pytest.raises(ConfigurationError, match=r"The state directory .* cannot be used: Not a directory"):
        service.up(service.program("chat"))


def test_full_disk_is_one_paragraph(service: Service) -> None:
    """A limit for the size of files has the same effect as a disk without space."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    service.state.prepare(["chat"])
    resource.setrlimit(resource.RLIMIT_FSIZE, (10, before[1]))
    try:
        with pytest.raises(ConfigurationError, match=r"The state directory .* cannot be used: File too large"):
            service.state.write(service.state.configuration, "x" * 100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert list(Path(service.state.path).glob("supervisord.conf*")) == []
