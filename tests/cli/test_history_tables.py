"""Tables of history: they fit a narrow terminal, and show charts, releases and the rest."""

import re

import pytest

from sidelane.admin.figures import History, Period
from sidelane.cli.output.history_tables import print_queues, print_tasks
from sidelane.model.history import HOUR, OTHER, Count, HistoryCell, Series, add_duration

PERIOD = Period.last(24 * HOUR, 1_700_000_000.0)


def history() -> History:
    """Return a day in which a release begins that fails more often, and waits become longer."""
    cells = []
    for number, at in enumerate(PERIOD.times):
        release = "8ac11e0" if number < 100 else "2f91c0d"
        counts: dict[int, int] = {
            Count.STARTED: 1000 + 20 * number,
            Count.SUCCEEDED: 990 + 20 * number,
            Count.FAILED: 10,
        }
        counts |= {Count.OUTPUT_TOKENS: 4000, Count.STREAM_MS: 90_000}
        for first in (Count.WAIT, Count.RUN, Count.FIRST_EVENT):
            add_duration(counts, first, number / 10)
        cells.append(HistoryCell(at, Series("chat", "shop.answer_a_question", release), counts))
        cells.append(HistoryCell(at, Series("chat", ""), {Count.MAX_READY: number}))
    cells.append(HistoryCell(PERIOD.since, Series("", OTHER), {Count.STARTED: 1_234_567, Count.REFUSED_LIMIT: 12_345}))
    return History(PERIOD, cells)


@pytest.fixture(autouse=True)
def narrow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")


def test_queues_fit_a_narrow_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    print_queues(history())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[0].split() == ["NAME", "STARTS", "STARTED", "FAILED", "WAIT", "P50", "P95", "MOST", "READY"]
    assert re.fullmatch(r"chat +[▁▂▃▄▅▆▇█]{17} +353,800 +0\.4 % +7\.2 s +18 s +144", lines[1])
    assert lines[2].startswith("other")
    assert re.fullmatch(r"release 2f91c0d since [\d-]+ [\d:]+", lines[3])


def test_tasks_show_each_release_if_there_are_several(capsys: pytest.CaptureFixture[str]) -> None:
    found = history()
    print_tasks(found, found.by_task())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:4]] == ["shop.answer_a_question", "8ac11e0", "2f91c0d"]


def test_a_period_without_history_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    print_queues(History(PERIOD, []))
    printed = capsys.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"Nothing has happened since [\d-]+ [\d:]+\.\n", printed.err)
