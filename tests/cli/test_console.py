"""How times, ages and log lines read."""

import logging
import sys

import pytest

from sidelane.cli.logs import Lines
from sidelane.cli.times import age, duration
from sidelane.stores.opening import without_password


@pytest.mark.parametrize(
    ("seconds", "words"),
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
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("then", "words"),
    [
        (999.5, "just now"),
        (970, "30 s ago"),
        (820, "3 min ago"),
        (1120, "in 2 min"),
        (-6300, "2 h ago"),
        (-86_000, "1 day ago"),
    ],
)
def test_ages_read_as_people_say_them(then: float, words: str) -> None:
    assert age(then, 1000.0) == words


def line(speaker: str, logger: str, level: int = logging.INFO, **more: object) -> str:
    record = logging.LogRecord(logger, level, __file__, 1, "it is %s", ("so",), None)
    record.__dict__.update(more)
    return Lines(speaker, coloured=False).format(record)


def test_a_log_line_has_time_level_and_who_speaks() -> None:
    assert line("w1", "sidelane.engine.worker")[2::3][:2] == "::"
    assert line("w1", "sidelane.engine.worker")[9:] == "INFO  w1  it is so"
    assert line("", "sidelane.engine.worker", logging.WARNING)[9:] == "WARN  it is so"


def test_a_log_line_names_loggers_that_are_not_ours() -> None:
    assert line("w1", "shop.tasks")[9:] == "INFO  w1  shop.tasks: it is so"


def test_tracebacks_stand_below_their_line() -> None:
    assert line("w1", "sidelane", traceback="Traceback:\n  line 7\n").splitlines()[1:] == [
        "    Traceback:",
        "      line 7",
    ]
    try:
        raise ValueError("odd")
    except ValueError:
        said = line("w1", "sidelane", exc_info=sys.exc_info())
    assert said.splitlines()[-1] == "    ValueError: odd"


def test_a_password_in_a_stores_url_is_never_shown() -> None:
    assert without_password("redis://shop:secret@host:6379/0") == "redis://shop:********@host:6379/0"
    assert without_password("redis://:secret@host") == "redis://:********@host"
    assert without_password("sqlite:////srv/shop.db") == "sqlite:////srv/shop.db"
