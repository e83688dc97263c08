"""JSON logs: each record as one JSON object on one line, for systems that collect logs.

A line is bounded: long texts are cut, and so is the number of fields. Records with foreign text stay one line each.
"""

import json
import logging
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Final

from pydantic_core import to_json

from sidelane.model.json_text import dump_json
from sidelane.model.printable import printable_json

MAX_TEXT = 16_384
"""Maximum characters of a message, and of a traceback."""

MAX_FIELD = 1024
"""Maximum characters of a field from `extra`, as JSON."""

MAX_NUMBER = 1 << 63
"""Numbers below it are written as they are."""

MAX_NAME = 64
"""Maximum characters of the name of such a field. Its end is cut."""

MAX_FIELDS = 32
"""Maximum number of fields of the attempt and from `extra`. Later ones are dropped."""

ATTEMPT_FIELDS: Final = ("job", "attempt", "task", "queue", "trace_id", "span_id")
"""Fields that a `JobLogFilter` adds. They are never dropped."""

NOT_FIELDS: Final = {
    *vars(logging.makeLogRecord({})),
    "asctime", "message", "taskName",  # set by formatters, and by Python 3.12 on
    "traceback",  # of a failed attempt, shown like that of an exception
    "color_message",  # of uvicorn: the message with terminal colours
}  # fmt: skip
"""Attributes of records that are no fields from `extra`."""

NO_FIELDS: Final[Mapping[str, str]] = MappingProxyType({})

_TRACEBACKS = logging.Formatter()


class JsonLogFormatter(logging.Formatter):
    """A formatter that writes one JSON object per record, with the name of the process as `worker`, and its `release`, if any.

    Fields of the running attempt are added by a `JobLogFilter` on the same handler.
    """

    def __init__(self, worker: str = "", release: str = "") -> None:
        super().__init__()
        self._fields = {name: text for name, text in (("worker", worker), ("release", release)) if text}

    def format(self, record: logging.LogRecord) -> str:
        document = log_document(record, self._fields)
        try:  # in a third of the time of `json`, because each record holds up an event loop
            text = to_json(document).decode()
        except ValueError:  # a lone surrogate
            text = dump_json(document)
        return printable_json(text)


def log_document(record: logging.LogRecord, fields: Mapping[str, str] = NO_FIELDS) -> dict[str, Any]:
    """Return the members of a record: time, level, logger, message, these `fields`, those of `extra`, and its traceback.

    A field from `extra` never replaces another member: `extra={"level": 9}` becomes `extra_level`.
    """
    document: dict[str, Any] = {
        "time": f"{_second(int(record.created))}.{int(record.created % 1 * 1000):03d}Z",
        "level": record.levelname,
        "logger": record.name,
        "message": _beginning(_message(record), MAX_TEXT),
        **fields,
    }
    names = [name for name in vars(record) if name not in NOT_FIELDS]
    if len(names) > MAX_FIELDS:
        names.sort(key=lambda name: name not in ATTEMPT_FIELDS)
    for name in names[:MAX_FIELDS]:
        key = name[:MAX_NAME]
        document[f"extra_{key}" if key in document or key in ("exception", "stack") else key] = _value(
            vars(record)[name]
        )
    if record.exc_info or record.exc_text or getattr(record, "traceback", ""):
        document["exception"] = _end(_traceback(record), MAX_TEXT)
    if record.stack_info:
        document["stack"] = _end(record.stack_info, MAX_TEXT)
    return document


@lru_cache(maxsize=1)
def _second(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - arguments that do not fit are no reason to lose the record
        return f"{record.msg} {_text(record.args)} ({type(error).__name__}: {error})"


def _traceback(record: logging.LogRecord) -> str:
    if record.exc_info:
        return _TRACEBACKS.formatException(record.exc_info)
    return record.exc_text or str(getattr(record, "traceback", ""))


def _value(value: object) -> Any:
    """Return a value as JSON can write it. A value that is too long, or has no JSON form, becomes text."""
    if isinstance(value, str):
        return _beginning(value, MAX_FIELD)
    if isinstance(value, int) and abs(value) < MAX_NUMBER:
        return value
    with suppress(Exception):
        text = json.dumps(value, default=str, allow_nan=False, ensure_ascii=False)
        return json.loads(text) if len(text) <= MAX_FIELD else _beginning(text, MAX_FIELD)
    return _beginning(_text(value), MAX_FIELD)


def _text(value: object) -> str:
    try:
        return repr(value)
    except Exception:  # noqa: BLE001 - the `__repr__` of any class
        return f"<{type(value).__name__}>"


def _beginning(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def _end(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"({len(text) - limit:,} more characters) …{text[-limit:]}"
