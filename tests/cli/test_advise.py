"""`sidelane advise`: measured and on paper, as text that fits 80 columns and as JSON, and its errors."""

import json
import re
import time
from dataclasses import replace

import pytest

from sidelane.model.ids import new_nonce
from sidelane.model.job import JobSpec
from sidelane.model.outcome import AttemptResult, Succeeded
from sidelane.model.process_load import PROCESS_LOADS, ProcessLoad
from sidelane.model.shared_state import JournalAppend
from sidelane.model.worker import ClaimRequest
from sidelane.stores.contract import Store
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.store_driver import WORKER, StoreDriver

pytestmark = pytest.mark.usefixtures("modules")

PLAN = ("advise", "--plan", "--rate", "5", "--seconds", "120")

DESCRIPTION = """
[api.web]
app = "main:app"

[worker.chat]
lane = "shop.lane:lane"
queues = ["chat=200"]
processes = 3
"""

CHAT = replace(
    WORKER,
    id="chat-1@box:box:7:a",
    name="chat-1@box",
    started=time.time() - 60,
    queues={"chat": 200},
    memory=90_000_000,
)


async def run_forty_jobs(store: Store) -> None:
    """Run jobs, and note what the worker used."""
    await store.submit([JobSpec(id=new_nonce(), task="answer", queue="chat", arguments="{}") for _ in range(40)])
    claims = await store.claim(
        ClaimRequest(request=new_nonce(), worker=CHAT.id, queues={"chat": 40}, limit=40, lease=60)
    )
    assert all(await store.finish([AttemptResult(lease=each.lease, outcome=Succeeded("1")) for each in claims.jobs]))
    load = ProcessLoad(
        process=CHAT.id, name=CHAT.name, host="box", seconds=60.0, cpu=0.9, max_cpu=0.95, queues=("chat",), slots=200,
        running=1, jobs=40, memory=100_000_000,
    )  # fmt: skip
    await store.append_entries(JournalAppend(journal=PROCESS_LOADS, texts=[load.text()], cap=100))


@pytest.fixture
def measured(driver: StoreDriver) -> None:
    driver.heartbeat(CHAT)
    driver.call(run_forty_jobs)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch, project: Project) -> None:
    monkeypatch.setenv("COLUMNS", "80")


@pytest.mark.row("R17")
def test_plan_shows_arithmetic_table_and_rule_of_thumb(sidelane: Command) -> None:
    result = sidelane(*PLAN, "--stream", "--machine", "t3.medium")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert max(map(len, lines)) <= 80
    assert lines[0] == "api: 2 processes"
    assert "worker: 1 process, 800 slots" in lines
    assert any(
        re.fullmatch(r"  5\.0 jobs/s x 2 min += 600 slots busy on average: Little's law", line) for line in lines
    )
    assert any(line.split()[:4] == ["worker", "1", "800", "600"] for line in lines)
    assert "✗ It fits only as long as there are CPU credits. t3.xlarge would do." in result.stdout.replace("\n", " ")
    assert "  2 x 2 cores + 1   = 5 workers: each handles one request at a time" in lines


def test_plan_as_json_has_numbers_and_arithmetic(sidelane: Command) -> None:
    document = sidelane(*PLAN, "--cores", "4", "--memory", "8GB", "--cpu", "0.4", "--json").json
    worker = document["services"][1]
    assert (worker["processes"], worker["slots"], worker["queues"][0]["median_wait"]) == (3, 267, 0.0)
    assert worker["steps"][0] == {
        "calculation": "5.0 jobs/s x 2 min", "result": "600 slots busy on average", "reason": "Little's law",
    }  # fmt: skip
    assert document["total"]["fits"] is True
    assert document["rule_of_thumb"][0]["result"] == "9 workers"


def test_plan_for_this_machine_is_the_default(sidelane: Command) -> None:
    assert sidelane(*PLAN, "--json").json["machine"]["cores"] > 0


@pytest.mark.row("R17")
@pytest.mark.usefixtures("measured")
def test_measured_load_is_advised_with_the_lines_to_change(sidelane: Command, project: Project) -> None:
    project.write("sidelane.toml", DESCRIPTION)
    result = sidelane("advise", "--machine", "c7i.large")
    lines = result.stdout.splitlines()
    assert result.exit_code == 0
    assert max(map(len, lines)) <= 80
    assert any(line.startswith("chat: ") for line in lines)
    assert any(line.startswith("↑ CPU of chat above 80 %  since ") for line in lines)
    assert "Change in sidelane.toml:" in lines
    assert lines[lines.index("  [worker.chat]") + 1].startswith("  processes = ")
    document = sidelane("advise", "--json").json
    assert document["services"][0]["now"] == {"processes": 1, "slots": 200}
    assert {each["key"] for each in document["changes"]} == {"processes", "queues"}
    assert [each["kind"] for each in document["signals"]] == ["high-cpu"]


def test_too_little_history_says_so(sidelane: Command, driver: StoreDriver) -> None:
    driver.heartbeat(CHAT)
    result = sidelane("advise")
    assert "too little to size by = as it is now: fewer than 30 jobs have ended" in " ".join(result.stdout.split())


def test_store_without_processes_recommends_a_plan(sidelane: Command, driver: StoreDriver) -> None:
    driver.submit("job-1")
    result = sidelane("advise")
    assert "nothing to size by" in result.stdout
    assert "sidelane advise --plan --rate 5 --seconds 120" in result.stdout


@pytest.mark.usefixtures("measured")
def test_description_that_cannot_be_read_is_left_out(sidelane: Command, project: Project) -> None:
    project.write("sidelane.toml", "[worker.chat]\nqueues = []\n")
    result = sidelane("advise", "--json")
    assert json.loads(result.stdout)["changes"] == []
    assert "the description of the service is left out" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--plan",), "a plan needs the jobs per second and the seconds of each"),
        (("--plan", "--rate", "5"), "a plan needs the jobs per second and the seconds of each"),
        (("--rate", "5"), "--rate describes a load on paper: add --plan"),
        (("--stream",), "--stream describes a load on paper: add --plan"),
        ((*PLAN[1:], "--machine", "t3.medum"), "did you mean `t3.medium`?"),
        ((*PLAN[1:], "--machine", "box"), "the families are t3, t4g"),
        ((*PLAN[1:], "--machine", "t3.medium", "--cores", "4"), "--machine names cores and memory already"),
        ((*PLAN[1:], "--cores", "4"), "--cores and --memory belong together"),
        ((*PLAN[1:], "--cores", "4", "--memory", "100MB"), "the operating system alone takes 500 MB"),
        ((*PLAN[1:], "--memory-per-process", "lots"), "write a size, e.g. 500MB or 2GiB"),
        (("--plan", "--rate", "0", "--seconds", "1"), "write a number above 0"),
        (("--plan", "--rate", "5", "--seconds=-1"), "write a number above 0"),
        (("--plan", "--rate", "nan", "--seconds", "1"), "write a number above 0"),
        ((*PLAN[1:], "--cpu", "121"), "a job cannot use 121 s of CPU within 120 s"),
        ((*PLAN[1:], "--since", "2d"), "a plan has no history"),
        (("--plan", "--rate", "1e6", "--seconds", "120"), "120,000,000 jobs would run at once"),
    ],
)
def test_bad_input_is_one_sentence(sidelane: Command, arguments: tuple[str, ...], message: str) -> None:
    result = sidelane("advise", *arguments)
    assert result.exit_code == 2
    assert message in " ".join(result.stderr.replace("│", " ").split())
    assert result.stdout == ""
