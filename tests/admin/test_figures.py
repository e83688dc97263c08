"""Figures of queues, tasks and releases, from made-up cells of history."""

import time

import pytest

from sidelane.admin.figures import Chart, History, Period, history_document
from sidelane.model.history import HOUR, MINUTE, OTHER, TEN_MINUTES, Count, HistoryCell, Series, add_duration

NOW = 1_700_000_000.0
ANSWER, REPORT = Series("chat", "answer", "r1"), Series("batch", "report", "r1")


def counts(*, wait: float | None = None, run: float | None = None, **amounts: int) -> dict[int, int]:
    found: dict[int, int] = {Count[name.upper()]: amount for name, amount in amounts.items()}
    for first, seconds in ((Count.WAIT, wait), (Count.RUN, run)):
        if seconds is not None:
            add_duration(found, first, seconds)
    return found


def history(period: Period, *cells: tuple[int, Series, dict[int, int]]) -> History:
    """Return a history with cells at the points of these numbers."""
    times = period.times
    return History(period, [HistoryCell(times[point], series, each) for point, series, each in cells])


@pytest.mark.parametrize(
    ("seconds", "step", "points"),
    [(600, MINUTE, 11), (3 * HOUR, MINUTE, 181), (24 * HOUR, TEN_MINUTES, 145), (36 * HOUR, TEN_MINUTES, 217),
     (37 * HOUR, HOUR, 38), (60 * 24 * HOUR, HOUR, 1441)],
)  # fmt: skip
def test_a_longer_period_has_longer_points(seconds: float, step: int, points: int) -> None:
    period = Period.last(seconds, NOW)
    assert (period.step, len(period.times)) == (step, points)
    assert period.since % step == 0
    assert NOW - seconds - step < period.since <= NOW - seconds
    assert period.times[-1] < NOW <= period.times[-1] + step


def test_a_chart_has_the_counts_of_each_point() -> None:
    found = history(
        Period.last(HOUR, NOW),
        (0, ANSWER, counts(started=2)),
        (3, ANSWER, counts(started=5, failed=1)),
        (3, Series("chat", "summary"), counts(started=1)),
    )
    chart = found.by_queue()["chat"]
    assert chart.values(Count.STARTED)[:5] == [2, 0, 0, 6, 0]
    assert chart.values(Count.STARTED, Count.FAILED)[3] == 7
    assert found.by_task()["answer"].values(Count.STARTED)[:5] == [2, 0, 0, 5, 0]


def test_a_cell_after_the_last_point_counts_as_the_last() -> None:
    period = Period.last(HOUR, NOW)
    later = HistoryCell(period.until + 120, ANSWER, counts(started=1))
    assert Chart(period, [later]).values(Count.STARTED)[-1] == 1


def test_maxima_of_a_queue_are_not_added_up() -> None:
    queue = Series("chat", "")
    found = history(
        Period.last(24 * HOUR, NOW),
        (0, queue, counts(max_ready=7)),
        (0, queue, counts(max_ready=5)),
        (1, queue, counts(max_ready=3)),
    )
    chart = found.by_queue()["chat"]
    assert chart.values(Count.MAX_READY)[:2] == [7, 3]
    assert chart.figures.count(Count.MAX_READY) == 7
    assert found.by_task() == {}


def test_figures_have_rates_waits_and_shares() -> None:
    cells = [counts(started=1, succeeded=1, wait=0.02, run=2.0)] * 94
    cells += [counts(started=1, failed=1, wait=40.0, run=2.0, refused_limit=2)] * 6
    figures = history(Period.last(600, NOW), *((0, ANSWER, each) for each in cells)).by_task()["answer"].figures
    assert figures.rate(Count.STARTED) == pytest.approx(100 / figures.seconds)
    assert figures.failed_share == pytest.approx(0.06)
    assert figures.refused == 12
    assert figures.wait is not None
    assert 0.01 < figures.wait.p50 <= 0.025
    assert 30 < figures.wait.p95 <= 60
    assert figures.wait.count == 100
    assert figures.run is not None
    assert 1.0 < figures.run.p50 <= 2.5
    assert figures.first_event is None


def test_tokens_per_second_count_only_the_time_of_streaming() -> None:
    used = counts(output_tokens=900, input_tokens=100, stream_ms=30_000, run_ms=60_000, cost_micros=2_500_000)
    figures = history(Period.last(600, NOW), (0, ANSWER, used)).by_task()["answer"].figures
    assert figures.tokens_per_second == pytest.approx(30.0)
    assert figures.cost == pytest.approx(2.5)


def test_a_task_without_history_has_an_empty_chart() -> None:
    found = history(Period.last(600, NOW), (0, ANSWER, counts(started=1))).by_task(["answer", "unused"])
    assert list(found) == ["answer", "unused"]
    assert found["unused"].figures.failed_share is None
    assert found["unused"].figures.tokens_per_second is None
    assert set(found["unused"].values(Count.STARTED)) == {0}


def test_failures_are_told_by_release() -> None:
    found = history(
        Period.last(HOUR, NOW),
        (0, Series("chat", "answer"), counts(submitted=3)),
        (0, Series("chat", "answer", "r1"), counts(started=2, succeeded=2)),
        (9, Series("chat", "answer", "r2"), counts(started=1, failed=1)),
    )
    releases = found.by_task()["answer"].releases
    assert {name: each.failed_share for name, each in releases.items()} == {"": None, "r1": 0.0, "r2": 1.0}


def test_a_release_has_a_mark_where_it_was_first_seen() -> None:
    period = Period.last(HOUR, NOW)
    found = history(
        period,
        (0, Series("chat", "answer", "r1"), counts(started=2)),
        (9, Series("batch", "report", "r2"), counts(started=1)),
        (7, Series("chat", "answer", "r2"), counts(started=1)),
        (5, Series("chat", "answer", "r3"), counts(lost=1)),
    )
    assert [(mark.release, mark.at) for mark in found.release_marks()] == [("r2", period.times[7])]


def test_what_has_no_series_is_listed_last() -> None:
    found = history(
        Period.last(HOUR, NOW),
        (0, Series("", OTHER), counts(started=4)),
        (0, Series("zoo", "feed"), counts(started=1)),
    )
    assert list(found.by_queue()) == ["zoo", OTHER]
    assert list(found.by_task()) == ["feed", OTHER]


def test_the_document_has_every_chart_with_its_points() -> None:
    period = Period.last(600, NOW)
    found = history(period, (1, ANSWER, counts(started=2, failed=1, wait=1.0)), (2, REPORT, counts(started=1)))
    document = history_document(found, "queues", found.by_queue())
    assert [queue["name"] for queue in document["queues"]] == ["batch", "chat"]
    chat = document["queues"][1]
    assert (chat["started"], chat["failed"], chat["wait"]["count"], chat["run"]) == (2, 1, 1, None)
    assert [point["started"] for point in chat["points"]][:3] == [0, 2, 0]
    assert [release["release"] for release in chat["releases"]] == ["r1"]
    assert document["releases"] == [{"release": "r1", "at": "2023-11-14T22:04:00.000Z"}]


def test_a_chart_of_many_series_takes_milliseconds() -> None:
    period = Period.last(24 * HOUR, NOW)
    each = counts(submitted=5, started=5, succeeded=4, failed=1, wait=0.3, run=2.0, events=300)
    cells = [HistoryCell(at, Series("chat", f"task-{number}"), each) for at in period.times for number in range(20)]
    began = time.perf_counter()
    chart = Chart(period, cells)
    assert sum(chart.values(Count.STARTED)) == 5 * len(cells)
    assert chart.figures.wait is not None
    assert time.perf_counter() - began < 0.1  # about 5 ms on an idle machine


def test_chart_of_all_queues_leaves_out_internal_ones() -> None:
    callbacks = Series("sidelane.callbacks", "sidelane.callback", "r1")
    cells = [(0, each, counts(started=1)) for each in (ANSWER, REPORT, callbacks)]
    assert history(Period.last(600, NOW), *cells).all_queues.figures.count(Count.STARTED) == 2


def test_chart_has_the_durations_of_each_point() -> None:
    cells = [(1, ANSWER, counts(wait=wait)) for wait in (0.2, 0.2, 25.0)]
    chart = history(Period.last(600, NOW), *cells).all_queues
    assert chart.durations(Count.WAIT, 0.5)[:3] == [None, pytest.approx(0.2, abs=0.05), None]
    assert chart.durations(Count.WAIT, 0.95)[1] == pytest.approx(28.5)


def test_chart_has_the_figures_of_the_points_within_a_range() -> None:
    period = Period.last(600, NOW)
    chart = history(period, *((point, ANSWER, counts(started=1)) for point in range(len(period.times)))).all_queues
    lately = chart.between(period.until - 300, period.until)
    assert (lately.count(Count.STARTED), lately.seconds) == (5, period.until - period.times[-5])
    assert chart.between(period.until, period.until + 60).count(Count.STARTED) == 0
