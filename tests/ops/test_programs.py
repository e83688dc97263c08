"""Programs of a service: command lines, start order, addresses, and how `sidelane up --print` shows them."""

import re
import shlex
from pathlib import Path

import pytest

from sidelane.ops.description import load_description
from sidelane.ops.programs import STOP_MARGIN, Program, describe_programs, programs_of
from tests.cli.command import run


def programs(folder: Path, text: str) -> dict[str, Program]:
    (folder / "sidelane.toml").write_text(text, "utf-8")
    return {program.name: program for program in programs_of(load_description(folder))}


SERVICE = """
environment = { SIDELANE_STORE = "redis://ann:hunter2@127.0.0.1:6379/0", STAGE = "test" }

[api.general]
app = "main:app"
port = 8001
processes = 2
options = { timeout_keep_alive = 5, access_log = false, forwarded_allow_ips = ["10.0.0.1"], root_path = "/shop" }
depends_on = ["model", "chat"]
health_port = 9000

[worker.chat]
lane = "shop.lane:lane"
queues = ["chat", "email=2"]
concurrency = 100
processes = 3
max_jobs = 1000
max_memory = "500MB"
max_lifetime = "12h"
health_port = 9001
metrics_port = 9101
stop_timeout = 90
stop_first = true
environment = { STAGE = "chat", OPENAI_API_KEY = "hunter2" }

[command.model]
run = "python -m shop.model --port 8080 --name 'a b'"
directory = "models"
ready = { http = "http://127.0.0.1:8080/health", timeout = 60 }
autostart = false
"""


def test_program_of_an_api_group(tmp_path: Path) -> None:
    found = programs(tmp_path, SERVICE)["general"]
    assert shlex.join(found.command) == (
        "sidelane api main:app --name general --host 127.0.0.1 --port 8001 --processes 2 --option timeout_keep_alive=5 "
        """--option access_log=false --option 'forwarded_allow_ips=["10.0.0.1"]' --option root_path=/shop """
        "--health-port 9000 --ready-timeout 120"
    )
    assert (found.kind, found.processes, found.directory, found.autostart) == ("api", 2, tmp_path, True)
    assert (found.address, found.health) == (("127.0.0.1", 8001), ("127.0.0.1", 9000))
    assert (found.depends_on, found.ready_timeout, found.stop_timeout) == (("model", "chat"), 120, None)


def test_program_of_a_worker_group(tmp_path: Path) -> None:
    found = programs(tmp_path, SERVICE)["chat"]
    assert shlex.join(found.command) == (
        "sidelane worker shop.lane:lane --name chat --queues chat,email=2 --concurrency 100 --processes 3 --max-jobs 1000 "
        "--max-memory 500MB --max-lifetime 12h --health-port 9001 --metrics-port 9101 --ready-timeout 120 --stop-timeout 90 "
        "--stop-first"
    )
    assert (found.kind, found.processes, found.address, found.health) == ("worker", 3, None, ("127.0.0.1", 9001))
    assert found.stop_timeout == 90 + STOP_MARGIN
    # its own variables override those of the service
    assert found.environment == {
        "SIDELANE_STORE": "redis://ann:hunter2@127.0.0.1:6379/0", "STAGE": "chat", "OPENAI_API_KEY": "hunter2",
    }  # fmt: skip


def test_program_of_a_command(tmp_path: Path) -> None:
    found = programs(tmp_path, SERVICE)["model"]
    assert shlex.join(found.command) == (
        "sidelane run --name model --ready-http http://127.0.0.1:8080/health --ready-timeout 60 --stop-first -- "
        "python -m shop.model --port 8080 --name 'a b'"
    )
    assert (found.kind, found.processes, found.directory) == ("command", 1, tmp_path / "models")
    assert (found.address, found.health, found.ready_timeout, found.autostart) == (("127.0.0.1", 8080), None, 60, False)


@pytest.mark.parametrize(
    ("ready", "options", "address"),
    [
        ("", [], None),
        ('ready.tcp = "localhost:5432"', ["--ready-tcp", "localhost:5432"], ("localhost", 5432)),
        ('ready.tcp = "[::1]:5432"', ["--ready-tcp", "[::1]:5432"], ("::1", 5432)),
        ('ready.http = "https://example.com/up"', ["--ready-http", "https://example.com/up"], None),
        ('ready.log = "Uvicorn running"', ["--ready-log", "Uvicorn running"], None),
        ('ready.delay = "1.5s"', ["--ready-delay", "1.5"], None),
    ],
)
def test_readiness_of_a_command(
    tmp_path: Path, ready: str, options: list[str], address: tuple[str, int] | None
) -> None:
    found = programs(tmp_path, f'[command.c]\nrun = ["c"]\n{ready}')["c"]
    assert found.command == (
        "sidelane", "run", "--name", "c", *options, "--ready-timeout", "120", "--stop-first", "--", "c",
    )  # fmt: skip
    assert found.address == address


def test_worker_without_options_gets_none(tmp_path: Path) -> None:
    found = programs(tmp_path, 'environment.SIDELANE_LANE = "m:l"\n[worker.w]')["w"]
    assert shlex.join(found.command) == "sidelane worker --name w --processes 1 --ready-timeout 120"


def test_lifetime_in_seconds_is_passed_on_with_its_unit(tmp_path: Path) -> None:
    found = programs(tmp_path, '[worker.w]\nlane = "m:l"\nmax_lifetime = 1234567')["w"]
    assert found.command[found.command.index("--max-lifetime") + 1] == "1234567s"


def test_programs_start_after_their_dependencies_and_else_in_the_order_of_the_file(tmp_path: Path) -> None:
    groups = {"a": ["d"], "b": [], "c": ["b", "e"], "d": ["e"], "e": []}
    text = "".join(f'[command.{name}]\nrun = "x"\ndepends_on = {needed}\n' for name, needed in groups.items())
    assert list(programs(tmp_path, text)) == ["e", "d", "a", "b", "c"]


# --- sidelane up --print -----------------------------------------------------------------------------------------------


def test_printed_programs_fit_80_columns_and_their_commands_can_be_pasted(tmp_path: Path) -> None:
    found = programs(tmp_path, SERVICE)
    text = describe_programs([found["general"], found["model"]]).replace(str(tmp_path), "/srv/shop")
    assert max(map(len, text.splitlines())) <= 80
    for program in (found["general"], found["model"]):
        pasted = re.search(rf"^{program.name} \(.*\n((?:.*\\\n)*.*)", text, re.MULTILINE)
        assert pasted is not None
        assert tuple(shlex.split(pasted[1].replace("\\\n", ""))) == program.command


def test_printed_program_has_all_facts_and_no_secrets(tmp_path: Path) -> None:
    text = describe_programs(programs(tmp_path, SERVICE).values()).replace(str(tmp_path), "/srv/shop")
    assert "hunter2" not in text
    assert (
        text.split("\n\n")[1]
        == """\
chat (worker, 3 processes)
    sidelane worker shop.lane:lane --name chat --queues chat,email=2 \\
        --concurrency 100 --processes 3 --max-jobs 1000 --max-memory 500MB \\
        --max-lifetime 12h --health-port 9001 --metrics-port 9101 \\
        --ready-timeout 120 --stop-timeout 90 --stop-first
    directory    /srv/shop
    health       127.0.0.1:9001
    environment  OPENAI_API_KEY=********
                 SIDELANE_STORE=redis://ann:********@127.0.0.1:6379/0
                 STAGE=chat"""
    )
    assert text.startswith("model (command, not started with the service)\n")
    assert "    depends on   model, chat\n    address      127.0.0.1:8001\n" in text


@pytest.mark.parametrize(
    "command",
    ["serve --api-key hunter2", "serve --hf-token=hunter2", "serve PASSWORD=hunter2", "serve --url redis://:hunter2@h",
     "serve --api-key a=hunter2", "serve --url=redis://:hunter2@h"],
)  # fmt: skip
def test_secrets_in_commands_are_masked(tmp_path: Path, command: str) -> None:
    text = describe_programs(programs(tmp_path, f'[command.c]\nrun = "{command} --max-tokens 7"').values())
    assert "hunter2" not in text
    assert "--max-tokens 7" in text


def test_control_characters_are_escaped(tmp_path: Path) -> None:
    found = programs(tmp_path, 'environment.A = "\\u001b[1m\\n"\n[command.c]\nrun = ["\\u001b[2J"]')
    text = describe_programs(found.values())
    assert "\x1b" not in text
    assert "A=\\x1b[1m\\n" in text


@pytest.mark.row("R15")
def test_up_print_prints_the_programs_and_starts_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    expected = describe_programs(programs(tmp_path, SERVICE).values())
    result = run("up", "--print")
    assert (result.exit_code, result.stdout) == (0, f"{expected}\n")
    assert [path.name for path in tmp_path.iterdir()] == ["sidelane.toml"]


def test_up_reports_an_invalid_description_as_one_paragraph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sidelane.toml").write_text("[worker.w]\nqueue = 3\n", "utf-8")
    result = run("up", "--print")
    assert (result.exit_code, result.stdout) == (3, "")
    assert "line 2, [worker.w] `queue`: there is no such key; did you mean `queues`?" in " ".join(result.stderr.split())
