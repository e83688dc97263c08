"""`sidelane top`: everything once, and the live screen on a terminal."""

import secrets
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.cells import cell_len

from sidelane.model.job import Failure
from sidelane.model.problem import Problem
from tests.cli.command import Command
from tests.cli.project import HOME, LEAVE_SCREEN, Project
from tests.cli.store_driver import WORKER, StoreDriver
from tests.contract.servers import RunningServer

FAILURE = Failure(problem=Problem(status=500, title="Internal error"), error="KeyError: 'stock_code'")

KOREAN = "상담-요약-🚀-대기열"

LONG = "postprocess_customer_feedback_recordings" * 4


@pytest.fixture
def busy(driver: StoreDriver) -> StoreDriver:
    """A store with findings, a worker, a job that runs, and jobs in a queue with a Korean name."""
    driver.heartbeat()
    driver.fail("failed", FAILURE)
    driver.claim(driver.submit("running", user="ann"))
    for number in range(3):
        driver.submit(f"waits-{number}", queue=KOREAN)
    return driver


def test_everything_is_printed_once_within_80_columns(busy: StoreDriver, sidelane: Command) -> None:
    busy.submit("long", queue=LONG, task=LONG, user=LONG)
    result = sidelane("top", "--once", env={"COLUMNS": "80"})
    assert result.exit_code == 0, result.stderr
    assert max(map(cell_len, result.stdout.splitlines())) <= 80, result.stdout
    for text in (
        "1 of 200 slots busy",
        "4 waiting",
        "1 dead letter: KeyError: 'stock_code'",
        "answer v1",  # in the evidence
        KOREAN,
        "● ok",
        "running",
    ):
        assert text in result.stdout, result.stdout


def test_columns_stay_aligned_beside_korean_and_emoji(busy: StoreDriver, sidelane: Command) -> None:
    lines = sidelane("top", "--once", env={"COLUMNS": "120"}).stdout.splitlines()
    begin = next(number for number, line in enumerate(lines) if line.startswith("QUEUES"))
    header, *rows = lines[begin : begin + 4]
    end = cell_len(header[: header.index("WAITING") + len("WAITING")])
    counts = []
    for row in rows:
        cut = next(length for length in range(len(row)) if cell_len(row[:length]) == end)
        counts.append(row[:cut].split()[-1])
    assert sorted(counts) == ["0", "0", "3"]


def test_json_has_the_same_figures(busy: StoreDriver, sidelane: Command) -> None:
    document = sidelane("top", "--once", "--json").json
    assert (document["running"], document["slots"], document["waiting"]) == (1, 200, 3)
    assert [each["key"].partition(":")[0] for each in document["findings"]] == ["dead-letters"]
    assert {each["name"]: each["ready"] for each in document["queues"]} == {"chat": 0, "gpu": 0, KOREAN: 3}
    assert document["workers"][0]["name"] == WORKER.name
    (job,) = document["longest_running"]
    assert (job["id"], job["user"], job["worker"]) == ("running", "ann", WORKER.id)


def test_muted_findings_are_left_out(busy: StoreDriver, sidelane: Command) -> None:
    for each in sidelane("attention", "--json").json:
        sidelane("attention", "mute", each["key"])
    assert "✓ Nothing needs you." in sidelane("top", "--once").stdout


@pytest.mark.parametrize(("options", "hint"), [([], "--once"), (["--json"], "--once"), (["--interval", "0"], "0.5")])
def test_screen_without_a_terminal_names_the_option_for_one_picture(
    busy: StoreDriver, sidelane: Command, options: list[str], hint: str
) -> None:
    result = sidelane("top", *options, env={"COLUMNS": "200"})
    assert (result.exit_code, result.stdout) == (2, "")
    assert hint in result.stderr


def test_empty_store_says_what_is_missing(driver: StoreDriver, sidelane: Command) -> None:
    driver.call(lambda store: store.stats())  # creates the file
    printed = sidelane("top", "--once").stdout
    for text in ("No queue has had a job yet.", "Start a worker with `sidelane worker`.", "No job runs."):
        assert text in printed


def test_screen_follows_the_store_the_size_and_the_keys_until_q(busy: StoreDriver, project: Project) -> None:
    top = project.start_on_terminal("top", "--interval", "0.5", columns=80, rows=24)
    screen = top.wait_for_screen(lambda lines: "running" in "\n".join(lines) and len(lines) == 24, "the whole picture")
    assert max(map(cell_len, screen)) <= 80
    assert screen[-1].startswith("[q]uit  queues: [t]arget [o]ldest [w]aiting  processes: [n]ame [c]pu [m]emory")
    busy.submit("later", queue="mail")
    top.wait_for_screen(lambda lines: any(line.startswith("mail ") for line in lines), "a queue of a new job")
    names = ("chat ", "mail ", KOREAN[:2])
    top.type("\x1b[Aw")  # an arrow does nothing
    top.wait_for_screen(lambda lines: _begins(lines, names) == [KOREAN[:2], "mail ", "chat "], "queues by waiting jobs")
    top.resize(40, 120)
    screen = top.wait_for_screen(lambda lines: len(lines) == 40, "a larger picture")
    assert max(map(cell_len, screen)) <= 120
    top.type("q")
    assert top.exit_code() == 0
    assert top.raw.rstrip().endswith((LEAVE_SCREEN, b"\x1b[?25h"))


def _begins(lines: list[str], names: tuple[str, ...]) -> list[str]:
    """Return the names with which lines begin, in their order."""
    return [name for line in lines for name in names if line.startswith(name)]


def test_screen_has_no_colour_if_none_is_wanted_and_ends_by_ctrl_c(
    busy: StoreDriver, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    top = project.start_on_terminal("top", columns=80)
    top.wait_for_screen(lambda lines: "running" in "\n".join(lines), "the picture")
    assert not any(f"\x1b[{code}m".encode() in top.raw for code in ("31", "1;31", "32", "33", "35"))
    top.signal(signal.SIGINT)
    assert top.exit_code() == 0
    assert LEAVE_SCREEN in top.raw


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[RunningServer]:
    (tmp_path / "valkey").mkdir()
    server = RunningServer("valkey", tmp_path / "valkey").start()
    yield server
    server.stop()


@pytest.mark.long
def test_screen_says_that_the_store_is_away_and_comes_back_by_itself(project: Project, valkey: RunningServer) -> None:
    url = valkey.url(name=secrets.token_hex(4))
    driver = StoreDriver(url)
    driver.submit("waits")
    top = project.start_on_terminal("top", "--interval", "0.5", "--store", url, columns=100)
    top.wait_for_screen(lambda lines: any(line.startswith("chat ") for line in lines), "the queue")
    valkey.stop(signal.SIGKILL)
    lines = top.wait_for_screen(lambda lines: "The store does not answer since" in lines[0], "a line about the store")
    assert any(line.startswith("chat ") for line in lines)  # the last figures stay
    top.type("w")
    before = top.raw.count(HOME)
    valkey.start()
    driver.submit("waits too")
    top.wait_for_screen(lambda lines: lines[0].startswith("Sidelane"), "the store again")
    assert top.raw.count(HOME) > before
    top.type("q")
    assert top.exit_code() == 0


@pytest.mark.long
def test_screen_closes_while_the_store_is_away(project: Project, valkey: RunningServer) -> None:
    url = valkey.url(name=secrets.token_hex(4))
    StoreDriver(url).submit("waits")
    top = project.start_on_terminal("top", "--interval", "0.5", "--store", url, columns=100)
    top.wait_for_screen(lambda lines: any(line.startswith("chat ") for line in lines), "the queue")
    valkey.stop(signal.SIGKILL)
    top.wait_for_screen(lambda lines: "The store does not answer since" in lines[0], "a line about the store")
    top.type("q")
    assert top.exit_code() == 0
    assert b"Traceback" not in top.raw
    assert b"never retrieved" not in top.raw
