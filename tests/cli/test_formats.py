"""Formats of times, durations, rates and log lines."""

import logging
import sys

import pytest

from sidelane.cli.output.time_format import duration, format_rate, relative_time
from sidelane.model.durations import duration_of, time_of
from sidelane.processes.logs import LogFormatter
from sidelane.stores.factory import redact_url


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.04, "0.0 s"),
        (3.24, "3.2 s"),
        (59.7, "1 min"),
        (200, "3 min 20 s"),
        (7500, "2 h 5 min"),
        (90_000, "1 day"),
        (604_800, "7 days"),
    ],
)
def test_durations_are_formatted(seconds: float, expected: str) -> None:
    assert duration(seconds) == expected


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (999.5, "just now"),
        (970, "30 s ago"),
        (820, "3 min ago"),
        (1120, "in 2 min"),
        (-6300, "2 h ago"),
        (-86_000, "1 day ago"),
    ],
)
def test_relative_times_are_formatted(then: float, expected: str) -> None:
    assert relative_time(then, 1000.0) == expected


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90s", 90),
        ("15min", 900),
        ("15 m", 900),
        ("2h", 7200),
        ("2 h 5 min", 7500),
        ("3 days", 259_200),
        ("1.5h", 5400),
    ],
)
def test_durations_are_parsed(text: str, seconds: float) -> None:
    assert duration_of(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "2 fortnights", "2h or so", "-2h"])
def test_invalid_durations_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="write a duration"):
        duration_of(text)


def test_times_are_parsed_as_ago_or_as_a_date() -> None:
    assert time_of("2h", 10_000.0) == 2800.0
    assert time_of("2026-05-01T09:30+00:00", 0.0) == 1_777_627_800.0
    assert time_of("2026-05-02", 0.0) - time_of("2026-05-01", 0.0) == 86_400.0
    for text in ("tomorrow", "2026-13-01", "2 fortnights"):
        with pytest.raises(ValueError, match=text):
            time_of(text, 0.0)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (1234.5, "1,234/s"),
        (12.3, "12/s"),
        (1.52, "1.5/s"),
        (0.5, "30/min"),
        (0.02, "1.2/min"),
        (0.001, "3.6/h"),
        (0.0, ""),
    ],
)
def test_rates_are_formatted_in_a_suitable_unit(rate: float, expected: str) -> None:
    assert format_rate(rate) == expected


def line(worker: str, logger: str, level: int = logging.INFO, **more: object) -> str:
    record = logging.LogRecord(logger, level, __file__, 1, "it is %s", ("so",), None)
    record.__dict__.update(more)
    return LogFormatter(worker, coloured=False).format(record)


def test_a_log_line_has_time_level_and_worker_name() -> None:
    assert line("w1", "sidelane.worker.worker")[2::3][:2] == "::"
    assert line("w1", "sidelane.worker.worker")[9:] == "INFO  w1  it is so"
    assert line("", "sidelane.worker.worker", logging.WARNING)[9:] == "WARN  it is so"


def test_a_log_line_names_the_applications_loggers() -> None:
    assert line("w1", "shop.tasks")[9:] == "INFO  w1  shop.tasks: it is so"


def test_tracebacks_are_indented_below_their_log_line() -> None:
    assert line("w1", "sidelane", traceback="Traceback:\n  line 7\n").splitlines()[1:] == [
        "    Traceback:",
        "      line 7",
    ]
    try:
        raise ValueError("odd")
    except ValueError:
        result = line("w1", "sidelane", exc_info=sys.exc_info())
    assert result.splitlines()[-1] == "    ValueError: odd"


def test_a_password_in_a_stores_url_is_never_shown() -> None:
    assert redact_url("redis://shop:secret@host:6379/0") == "redis://shop:********@host:6379/0"
    assert redact_url("redis://:secret@host") == "redis://:********@host"
    assert redact_url("sqlite:////srv/shop.db") == "sqlite:////srv/shop.db"
