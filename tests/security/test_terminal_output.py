"""Foreign text in terminals and logs: it is shown, but neither acts on the terminal nor looks like other lines."""

import json
import logging
import re

import pytest

from sidelane.model.event import NewEvent
from sidelane.model.job import Failure
from sidelane.model.limit import Limit
from sidelane.model.outcome import Failed, Retried, Succeeded
from sidelane.model.printable import printable, printable_json, printable_line
from sidelane.model.problem import Problem
from sidelane.processes.logs import LogFormatter
from tests.cli.command import Command
from tests.cli.project import Project
from tests.cli.store_driver import StoreDriver

ATTACKS = {
    "the title of the terminal": "\x1b]0;forged\x07",
    "a cleared screen": "\x1b[2J\x1b[H",
    "a hyperlink": "\x1b]8;;https://evil.example\x1b\\click\x1b]8;;\x1b\\",
    "the clipboard": "\x1b]52;c;Zm9yZ2Vk\x07",
    "a sequence that begins with one character": "\x9b2J\x9d0;forged\x9c\x90",
    "letters in another order": "\u202egnp.exe\u202c \u2066x\u2069\u200f\u061c",
    "erased characters": "\x00\x08\x08\x7f",
    "an overwritten line": "\rforged",
    "another line": "\nforged 1\r\nforged 2\x0bforged 3\x0cforged 4\x85forged 5\u2028forged 6\u2029forged 7\x1eforged 8",
    "half a character": "\ud800",
    "markup of the console": "[red]forged[/red][/] [link=https://evil.example]",
}
ATTACK = "".join(ATTACKS.values())
STORED = ATTACK.replace("\ud800", "")  # a store takes half a character only in JSON

ACTIVE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
LIMIT = Limit(name="few", key=STORED, max=1)

FAILURE = Failure(
    problem=Problem(status=502, title=ATTACK, detail=f"detail {ATTACK}"),
    error=f"APIError: {ATTACK}",
    traceback=f"Traceback: line 7\n{ATTACK}",
)


def assert_harmless(text: str) -> None:
    """Check that a text contains no control characters, and no line that the attack has inserted."""
    assert not ACTIVE.search(text), ACTIVE.findall(text)
    assert not re.search("^forged", text, re.MULTILINE), text


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_every_attack_is_shown_as_escapes(attack: str) -> None:
    assert not ACTIVE.search(printable(attack))
    assert not re.search(r"[\t\n]", printable_line(attack))
    assert_harmless(f"x{printable_line(attack)}")
    document = printable_json(json.dumps(attack, ensure_ascii=False))
    assert json.loads(document) == attack
    assert not ACTIVE.search(document)


def test_text_of_every_language_stays_as_it_is() -> None:
    text = "Žluťoučký kůň\t你好 שלום مرحبا हिन्दी 👩‍👩‍👧 é\n\\x1b"
    assert printable(text) == text
    assert printable("one\r\ntwo\n") == "one\ntwo\n"


@pytest.fixture
def job(driver: StoreDriver) -> str:
    """A job that has failed once, with an attack in every text that a caller or a task may choose."""
    driver.submit(
        "one", user=STORED, key=STORED, unique=STORED, labels={f"team{STORED[:50]}": STORED}, limits=(LIMIT,),
        arguments=json.dumps({"question": ATTACK, ATTACK: 1}),
    )  # fmt: skip
    driver.finish(driver.claim("one"), Retried(FAILURE))
    return "one"


def test_lists_and_details_of_jobs_are_harmless(driver: StoreDriver, sidelane: Command, job: str) -> None:
    lease = driver.claim(job)
    driver.emit(lease, *events())
    commands = (["jobs", "list"], ["jobs", "show", job], ["limits"], ["workers"], ["queues"], ["top", "--once"])
    outputs = [sidelane(*command, env={"COLUMNS": "300"}) for command in (*commands,)]
    outputs += [sidelane(*command) for command in commands]
    outputs += [sidelane(*command, "--json") for command in commands]
    driver.finish(lease, Failed(FAILURE), *events())
    outputs += [sidelane(*command) for command in (["jobs", "list"], ["jobs", "show", job], ["dead"])]
    outputs += [sidelane("dead", "show", job), sidelane("jobs", "show", job, "--json")]
    for output in outputs:
        assert output.exit_code == 0
        assert_harmless(output.stdout + output.stderr)
    assert r"\x1b]0;forged\x07" in outputs[1].stdout
    assert r"\u202egnp.exe" in outputs[1].stdout


def test_list_has_one_line_for_each_job(driver: StoreDriver, sidelane: Command, job: str) -> None:
    driver.submit("two")
    driver.finish(driver.claim(job), Failed(FAILURE))
    assert [line.split()[0] for line in sidelane("jobs", "list").stdout.splitlines()] == ["ID", "two", "one"]


def test_watching_a_job_is_harmless(driver: StoreDriver, sidelane: Command, job: str) -> None:
    driver.finish(driver.claim(job), Failed(FAILURE), *events())
    watched, as_json = sidelane("jobs", "watch", job), sidelane("jobs", "watch", job, "--json")
    for output in (watched, as_json):
        assert output.exit_code == 1
        assert not ACTIVE.search(output.stdout)
        assert_harmless(output.stderr)
    assert printable(ATTACK) in watched.stdout
    assert [json.loads(line)["event"] for line in as_json.stdout.splitlines()][-1] == "end"
    driver.finish(driver.claim(driver.submit("two")), Succeeded(json.dumps(ATTACK)))
    assert sidelane("jobs", "watch", "two").stdout == printable(ATTACK) + "\n"


@pytest.mark.system
@pytest.mark.parametrize("command", ["jobs watch one", "jobs show one", "jobs list"])
def test_a_terminal_gets_no_sequence_but_our_own(driver: StoreDriver, project: Project, job: str, command: str) -> None:
    driver.finish(driver.claim(job), Failed(FAILURE), *events())
    process = project.start_on_terminal(*command.split(), columns=1000)
    process.exit_code()
    assert "forged" in process.output
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", process.output)


def events() -> tuple[NewEvent, ...]:
    return (
        NewEvent("progress", json.dumps({"percent": 50, "message": ATTACK})),
        NewEvent("sources", json.dumps({"text": ATTACK}, ensure_ascii=False).replace("\ud800", "")),
        NewEvent("token", json.dumps({"text": ATTACK})),
    )


@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS)
def test_a_log_record_has_one_line_that_begins_like_a_record(attack: str) -> None:
    try:
        raise RuntimeError(attack)
    except RuntimeError as error:
        info = (type(error), error, error.__traceback__)
    record = logging.LogRecord("sidelane.worker", logging.WARNING, __file__, 1, "job %s", (attack,), info)
    record.__dict__["traceback"] = f"Traceback: line 7\n{attack}"
    first, *others = LogFormatter(f"w1{attack}", coloured=False).format(record).split("\n")
    assert first[2::3][:2] == "::"
    assert_harmless("\n".join([first, *others]))
    assert all(line.startswith("    ") for line in others)


TASKS = f"""
from shop.lane import lane


@lane.task(queue="chat")
async def answer(question: str) -> str:
    raise RuntimeError({ATTACK!r})
"""


@pytest.mark.system
def test_the_log_of_a_worker_is_harmless(driver: StoreDriver, project: Project) -> None:
    project.write("shop/tasks.py", TASKS)
    driver.submit("one")
    worker = project.start("worker", "shop.lane:lane")
    worker.wait_for("failed for good")
    worker.wait_for("RuntimeError: ", times=2)
    worker.end()
    assert_harmless(worker.output)
    assert r"\x1b]0;forged\x07" in worker.output


@pytest.mark.system
def test_an_error_of_a_command_is_harmless(project: Project) -> None:
    project.write("shop/lane.py", f"raise RuntimeError({ATTACK!r})")
    for options in ([], ["--debug"]):
        process = project.start(*options, "queues", "--lane", "shop.lane:lane")
        assert process.exit_code() != 0
        assert "forged" in process.output
        assert not ACTIVE.search(process.output)
        assert options or len(re.findall("^[^ ]", process.output, re.MULTILINE)) == 1
