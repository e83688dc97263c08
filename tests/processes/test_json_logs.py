"""JSON logs: one object a line, bounded, whatever is logged."""

import json
import logging
import math
import sys
from typing import Any

import pytest

from sidelane import JsonLogFormatter
from sidelane.processes.json_logs import MAX_FIELDS

MAX_LINE = 90_000
"""Characters of the longest line without escapes, of which each is up to six."""

FORMATTER = JsonLogFormatter(worker="w1", release="1.2")


def logged(message: object, *arguments: object, **attributes: Any) -> dict[str, Any]:
    """Return the document of a record."""
    fields = {"name": "shop.tasks", "levelno": logging.INFO, "levelname": "INFO", "created": 1_767_225_600.0625}
    line = FORMATTER.format(logging.makeLogRecord({**fields, "msg": message, "args": arguments, **attributes}))
    assert len(line) < 6 * MAX_LINE
    assert len(line) < MAX_LINE or "\\u0000" in line
    assert len(line.splitlines()) == 1
    document: dict[str, Any] = json.loads(line)
    return document


class Unprintable:
    """A value without a text."""

    def __repr__(self) -> str:
        raise RuntimeError("no text")


def test_a_record_is_one_object_with_time_level_logger_message_and_process() -> None:
    assert logged("%d pages", 3) == {
        "time": "2026-01-01T00:00:00.062Z",
        "level": "INFO",
        "logger": "shop.tasks",
        "message": "3 pages",
        "worker": "w1",
        "release": "1.2",
    }


def test_a_process_without_name_and_release_omits_them() -> None:
    document = json.loads(JsonLogFormatter().format(logging.makeLogRecord({"msg": "hello"})))
    assert document.keys() == {"time", "level", "logger", "message"}


def test_fields_of_extra_keep_their_names_and_never_replace_ours() -> None:
    document = logged("hello", size=3, tags=["a"], level="mine", worker=7, exception="none")
    assert (document["size"], document["tags"], document["level"], document["worker"]) == (3, ["a"], "INFO", "w1")
    assert (document["extra_level"], document["extra_worker"], document["extra_exception"]) == ("mine", 7, "none")


def test_an_exception_is_one_field_with_its_traceback() -> None:
    try:
        raise ValueError("no\npicture")
    except ValueError:
        document = logged("it failed", exc_info=sys.exc_info())
    assert document["exception"].startswith("Traceback (most recent call last):\n")
    assert document["exception"].endswith("ValueError: no\npicture")


def test_the_traceback_of_a_failed_attempt_is_shown_like_that_of_an_exception() -> None:
    assert logged("failed", traceback="Traceback: line 7")["exception"] == "Traceback: line 7"


def test_the_stack_is_a_field() -> None:
    assert logged("here", stack_info="Stack: line 7")["stack"] == "Stack: line 7"


@pytest.mark.parametrize(
    "text", ["a\nb\r\n\x1b[2J", "\x00\x7f\x85\u2028\u202e", "\ud800 alone", '"}, {"level": "ERROR"', "你好"]
)
def test_foreign_text_stays_one_line_and_is_read_back_unchanged(text: str) -> None:
    document = logged("%s", text, note=text)
    assert (document["message"], document["note"]) == (text, text)


def test_long_texts_are_cut_and_say_so() -> None:
    document = logged("x" * 10_000_000, note="y" * 5_000, many=list(range(5_000)), traceback="z" * 50_000 + "end")
    assert document["message"].endswith("… (9,983,616 more characters)")
    assert document["note"].endswith("… (3,976 more characters)")
    assert "more characters" in document["many"]
    assert document["exception"].endswith("end")


def test_the_number_of_fields_is_bounded() -> None:
    document = logged("hello", **{f"field{number}": number for number in range(1_000)})
    assert sum(name.startswith("field") for name in document) == MAX_FIELDS


@pytest.mark.parametrize("character", ["x", "\x00"])
def test_the_longest_record_is_bounded(character: str) -> None:
    text = character * 100_000
    logged(text, traceback=text, stack_info=text, **{f"{number}{text}": text for number in range(100)})


def test_values_without_a_json_form_become_text() -> None:
    circular: list[object] = []
    circular.append(circular)
    document = logged("hello", nan=math.nan, key={(1, 2): 3}, circular=circular, bad=Unprintable(), when=object)
    assert (document["nan"], document["key"], document["circular"]) == ("nan", "{(1, 2): 3}", "[[...]]")
    assert (document["bad"], document["when"]) == ("<Unprintable>", "<class 'object'>")


def test_arguments_that_do_not_fit_lose_nothing() -> None:
    document = logged("%d pages", "three")
    assert document["message"].startswith("%d pages ('three',) (TypeError: ")
