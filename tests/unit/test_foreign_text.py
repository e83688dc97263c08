"""Parsers of foreign text take linear time, and do not block an event loop."""

import base64
import gc
import math
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import Headers

from sidelane.callbacks.http_client import retry_after_seconds
from sidelane.callbacks.ssrf import AddressPolicy
from sidelane.callbacks.url import parse_url
from sidelane.client.file_references import files_named
from sidelane.external.completion import read_token
from sidelane.files.file import File
from sidelane.files.files import key_of
from sidelane.files.media_types import checked_type
from sidelane.files.upload import is_media_type, sanitize_name
from sidelane.model.codec import format_validation_error
from sidelane.model.durations import duration_of
from sidelane.model.errors import SidelaneError
from sidelane.model.ids import is_generated, is_id, is_traceparent
from sidelane.model.job import JobSpec
from sidelane.model.limit import RateLimit
from sidelane.model.message import Message
from sidelane.stores.validation import spec_problem
from sidelane.transports import cloudevents
from sidelane.transports.cloudevents import trace_of
from sidelane.transports.job_messages import (
    CompletionForm,
    EventsForm,
    read_claim,
    read_completion,
    read_dispatched_header,
    read_form,
    read_input,
)
from sidelane.transports.sqs import codec
from sidelane.web.idempotency import check_key, without_file_ids
from sidelane.web.negotiation import parse_preferences
from sidelane.web.sse import parse_cursor

MIB = 1024 * 1024

MOST_GROWTH = 3.0
"""Max. ratio of the times of two texts, one twice as long as the other.

Linear parsers take twice as long, and 2.5 times or a little more if what they build outgrows the caches of a shared processor.
Quadratic ones take four times as long.
"""

STEPS = 5
"""Doublings of the length."""

UNMEASURED = 0.0003
"""Seconds below which a measured time is not significant."""

ENDLESS = 1.0
"""Max. seconds of one parse."""

BAR = 0.05
"""Max. seconds for which one message of a MiB may block a worker's event loop."""

UNHURRIED = 4
"""Factor by which a machine may be slower than the one that these bounds were set on."""

TRIES = 10

Shape = Callable[[int], str]


def repeated(*pieces: str) -> list[Shape]:
    """Return texts that repeat one piece."""
    return [lambda n, piece=piece: piece * (n // len(piece)) for piece in pieces]  # type: ignore[misc] # a default binds it


def between(before: str, piece: str, after: str) -> Shape:
    return lambda n: before + piece * (n // len(piece)) + after


PLAIN = repeated(
    "a", " ", "0", "9", ",", ";", ":", ".", "/", "\\", "=", '"', "+", "-", "\x01", "é", "1.", "a=,", "a;q=", "//+"
)
"""Repetitions of what the parsers look for, and of near misses."""

NUMBERS = [between("1e", "9", ""), between("0.", "3", ""), between("1", "_1", "")]

DATES = [
    between("Mon, 01 Jan ", "9", " 00:00:00 GMT"),
    between("Mon, 01 Jan 2026 ", ":", ""),
    *repeated("a ", "1:", "-1 "),
]

HEAD = '{"specversion":"1.0","id":"1","source":"s","type":"sidelane.job.completed"'
DISPATCHED = HEAD.replace("completed", "dispatched")
JOB = '"job":"a","token":"t","task":"t","attempt":1,"timeout":1'


def in_data(piece: str, *, after: str = "") -> Shape:
    """Return replies and dispatched jobs that contain something many times."""
    return between(f'{HEAD},"data":{{{JOB},"result":[', piece, f"0]{after}}}}}")


def in_input(piece: str) -> Shape:
    return between(f'{DISPATCHED},"data":{{{JOB},"input":[', piece, "0]}}")


def many_members(value: str, name: str = "x{:x}") -> Shape:
    return lambda n: HEAD + "".join(f',"{name.format(number)}":{value}' for number in range(n // 12)) + "}"


def in_base64(data: Shape) -> Shape:
    return lambda n: f'{HEAD},"data_base64":"{base64.b64encode(data(n * 3 // 4).encode()).decode()}"}}'


def keys_in_data(n: int) -> str:
    return f'{HEAD},"data":{{{JOB},"result":{{{",".join(f"{chr(34)}{number:x}{chr(34)}:0" for number in range(n // 9))}}}}}}}'


MESSAGES: Mapping[str, Shape] = {
    "a datacontenttype of slashes": between(HEAD + ',"data_base64":"e30=","datacontenttype":"', "/", 'x"}'),
    "a datacontenttype of suffixes": between(HEAD + ',"data_base64":"e30=","datacontenttype":"a/b', "+json", 'x"}'),
    "whole numbers": in_data("1,"),
    "large numbers": in_data("9" * 4000 + ","),
    "too large a number": between(f'{HEAD},"data":', "9", "}"),
    "numbers": in_data("1.2345678901234567e-300,"),
    "lists": in_data("[],"),
    "objects": in_data("{},"),
    "texts": in_data('"",'),
    "keys": keys_in_data,
    "events": between(f'{HEAD},"data":{{{JOB},"events":[', '{"name":"a"},', "{}]}}"),
    "events that are none": between(f'{HEAD},"data":{{{JOB},"events":[', "0,", "0]}}"),
    "a dispatched job of lists": in_input("[],"),
    "a dispatched job of texts": in_input('"a",'),
    "one text": between(HEAD + ',"data":"', "x", '"}'),
    "escapes": between(HEAD + ',"data":"', '\\"', '"}'),
    "unicode escapes": between(HEAD + ',"data":"', "\\u00e9", '"}'),
    "no base64": between(HEAD + ',"data_base64":"', "*", '"}'),
    "base64 of lists": in_base64(between(f'{{{JOB},"result":[', "[],", "0]}")),
    "extensions": many_members("1"),
    "extensions that are none": many_members("1.5"),
    "bad names": many_members("1", "X{:x}"),
    "control characters": between(HEAD + ',"subject":"', "x", '\\u0001"}'),
    "a time of digits": between(HEAD + ',"time":"2026-01-01T00:00:00.', "1", 'Z"}'),
    "a trace of digits": between(HEAD + ',"traceparent":"00-', "0", '"}'),
    "a trace of numbers": between(HEAD + ',"traceparent":[', "9" * 4000 + ",", "0]}"),
    "a link": between(HEAD + ',"dataref":"', "#", '"}'),
    "depth": lambda n: HEAD + ',"data":' + "[" * n,
    "spaces": lambda n: " " * n,
}

READERS: Mapping[str, Callable[[str], Any]] = {
    "an event": cloudevents.read,
    "the envelope of an event": cloudevents.read_envelope,
    "a claim": lambda text: read_claim(Message(body=text)),
    "a reply": lambda text: read_completion(Message(body=text)),
    "the header of a dispatched job": lambda text: read_dispatched_header(Message(body=text)),
    "the input of a dispatched job": lambda text: read_input(Message(body=text)),
    "a trace": lambda text: trace_of(Message(body=text)),
}

BODIES = [
    between('{"result":[', "[],", "0]}"), between('{"result":', "9", "}"), between('{"events":[', "0,", "0]}"),
    between('{"problem":{"x":"', "a", '"}}'), between('{"result":"', "a", ""), in_data("1,"), *repeated("[", "{", " "),
]  # fmt: skip

FILE = '"file":"sidelane-file:'
FILES = repeated(FILE, FILE + "0" * 31 + "g", "sidelane-file:", "sidelane-file:" + "0" * 32, "sidelane")

SHORT: Mapping[str, tuple[Callable[[str], Any], list[Shape]]] = {
    "Accept": (lambda text: parse_preferences(Headers({"accept": text})), [*PLAIN, *NUMBERS]),
    "Prefer": (
        lambda text: parse_preferences(Headers({"prefer": text})),
        [*PLAIN, between("wait=1e", "9", ""), between("wait=0.", "3", "")],
    ),
    "Last-Event-ID": (parse_cursor, [*PLAIN, between("a:1:", "1", ""), between("a:", "f", ":1")]),
    "Idempotency-Key": (lambda text: check_key(text, "ann"), PLAIN),
    "Retry-After": (lambda text: retry_after_seconds(text, 0.0), [*PLAIN, *NUMBERS, *DATES]),
    "traceparent": (is_traceparent, PLAIN),
    "an id": (lambda text: (is_id(text), is_generated(text)), [*PLAIN, between("0" * 32 + ".", "a", "!")]),
    "a completion token": (lambda text: read_token(b"key", "job", text), [*PLAIN, between("1.a.", "A", "")]),
    "a callback's URL": (parse_url, [*PLAIN, between("https://", "a.", ""), between("https://a/", "/", "")]),
    "a callback's host": (AddressPolicy().check_host, [*PLAIN, *repeated("1.", "0x", "::")]),
    "a file's name": (sanitize_name, PLAIN),
    "a file's type": (lambda text: (is_media_type(text), checked_type(b"", text, ("audio/*",))), [*PLAIN, *repeated("a/")]),
    "a file's id": (key_of, FILES),
    "a file": (File.model_validate_json, [between('{"file":"sidelane-file:', "0", '"}'), *PLAIN]),
    "files in arguments": (lambda text: files_named([text]), FILES),
    "arguments that are compared": (without_file_ids, FILES),
    "attributes in one": (lambda text: codec.from_entry({"Body": "", "MessageId": "", "MessageAttributes": {
        codec.OVERFLOW: {"StringValue": text}}}), [*PLAIN, *repeated("[", "{"), between('{"a":"', "a", '"}')]),
    "a completion": (lambda text: read_form(CompletionForm, text), [*PLAIN, *BODIES]),
    "events by HTTP": (lambda text: read_form(EventsForm, text), [*PLAIN, *BODIES]),
    "a job to be kept": (lambda text: spec_problem(JobSpec(id=text, task="t", key=text, user=text)), PLAIN),
    "a duration": (duration_of, [*PLAIN, *repeated("1d", "1 ")]),
    "a rate": (lambda text: RateLimit(text, per="user").invalid_reason(), [*PLAIN, between("1/", " ", "")]),
}  # fmt: skip


def taken(read: Callable[[str], Any], text: str) -> float:
    """Return the CPU time of one parse, without garbage collection."""
    gc.disable()
    try:
        before = time.thread_time()
        with suppress(SidelaneError, ValueError, TypeError):
            read(text)
        return time.thread_time() - before
    finally:
        gc.enable()


def is_linear(read: Callable[[str], Any], shape: Shape, longest: float = ENDLESS) -> bool:
    """Return whether twice the length takes at most `MOST_GROWTH` times as long, on average over five steps from 32 KiB to a MiB.

    The text of a MiB may take `longest` seconds. One step alone may take longer, e.g. because memory is filled that was not used
    before. On a busy machine, the shortest times of several tries count.
    """
    texts = [shape(MIB >> step) for step in reversed(range(STEPS + 1))]
    times = [math.inf] * len(texts)
    for _ in range(TRIES):
        for index, text in enumerate(
            texts
        ):  # in ascending order, so that quadratic time is found before it takes minutes
            times[index] = min(times[index], *(taken(read, text) for _ in range(3)))
            if times[index] > ENDLESS:
                return False
        if times[-1] <= min(longest, MOST_GROWTH**STEPS * max(times[0], UNMEASURED)):
            return True
    return False


@pytest.mark.parametrize("shape", MESSAGES)
@pytest.mark.parametrize("reader", READERS)
def test_messages_are_read_in_linear_time_and_do_not_block_the_event_loop(reader: str, shape: str) -> None:
    assert is_linear(READERS[reader], MESSAGES[shape], BAR * UNHURRIED)


@pytest.mark.parametrize("parser", SHORT)
def test_foreign_texts_are_read_in_linear_time(parser: str) -> None:
    read, shapes = SHORT[parser]
    assert [shape(20) for shape in shapes if not is_linear(read, shape)] == []


@pytest.mark.parametrize(
    "header", ["Mon, 01 Jan 99999999999 00:00:00 GMT", "Mon, 01 Jan 2026 00:00:00 +99999999999999"]
)
def test_an_impossible_retry_after_date_is_ignored(header: str) -> None:
    assert retry_after_seconds(header, 0.0) is None


@pytest.mark.parametrize(("count", "told", "begins"), [(1000, 5, "0: "), (300_000, 0, "300,000 values do not fit")])
def test_many_validation_errors_are_counted_instead_of_described(count: int, told: int, begins: str) -> None:
    with pytest.raises(ValidationError) as many:
        TypeAdapter(list[int]).validate_python([""] * count)
    began = time.thread_time()
    text = format_validation_error(many.value)
    assert time.thread_time() - began <= BAR * UNHURRIED
    assert text.count("valid integer") == told
    assert text.startswith(begins)
