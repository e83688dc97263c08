"""Several processes write to one SQLite file, and none starves."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.system.process_scenario import ProcessScenario
from tests.system.processes import RunningProcess
from tests.system.waiting import until

WRITERS, ROUNDS, SECONDS = 4, 3, 2.0

MAX_WAIT = 0.5


@pytest.mark.long
async def test_no_write_waits_over_half_a_second_with_four_writing_processes(
    scenario: ProcessScenario, record_property: Callable[[str, object], None]
) -> None:
    names = [f"writer-{number}" for number in range(WRITERS)]
    writers = [
        scenario.processes.python(name, "tests.system.writer", scenario.processes.store, name, str(SECONDS))
        for name in names
    ]
    await until(lambda: all(map(answers, writers)), "the writers are ready", within=20)
    rounds = [await one_round(writers) for _ in range(ROUNDS)]

    longest = [max(each["longest"] for each in results) for results in rounds]
    writes = [[each["writes"] for each in results] for results in rounds]
    record_property("four_writers", {"longest_wait_s": [round(each, 3) for each in longest], "writes": writes})
    print(f"longest waits {longest} s, writes {writes}")
    assert max(longest) <= MAX_WAIT


async def one_round(writers: list[RunningProcess]) -> list[Any]:
    """Let all of them write for a while, and give what each says of it."""
    before = len(answers(writers[0]))
    for writer in writers:
        writer.send_line("go")
    await until(lambda: all(len(answers(writer)) > before for writer in writers), "a round ends", within=SECONDS + 8)
    return [answers(writer)[-1] for writer in writers]


def answers(writer: RunningProcess) -> list[Any]:
    assert not writer.exited, "a writer ended"
    return [json.loads(line) for line in writer.log.read_text().splitlines()]
