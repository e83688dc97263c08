"""Log of an attempt: what its task logs, kept as events of the job that only operators read (docs/decisions/0040-job-logs.md)."""

import asyncio
import logging
import threading
from collections.abc import Callable
from contextvars import ContextVar

from sidelane.model.event import LOG, NewEvent
from sidelane.model.json_text import dump_json
from sidelane.processes.json_logs import log_document
from sidelane.tasks.job_log_filter import JobLogFilter

MAX_SIZE = 65_536
"""Maximum bytes of the records of one attempt."""

FULL_ATTEMPTS = 10
"""Attempts of a job that may keep so much. Later ones keep less, so that all attempts together keep less than 1.3 MB."""


def log_size(attempt: int) -> int:
    """Return how many bytes of records an attempt keeps at most, by its number."""
    return MAX_SIZE if attempt <= FULL_ATTEMPTS else MAX_SIZE * FULL_ATTEMPTS**2 // attempt**2


class JobLog:
    """Keeps the records of one attempt, up to `size` bytes. Any thread may add records.

    `put` is called on the event loop in which the log is created, and must not wait.
    """

    def __init__(self, size: int, put: Callable[[NewEvent], None]) -> None:
        self._space = size
        self._size = size
        self._put = put
        self._loop = asyncio.get_running_loop()
        self._thread = threading.get_ident()

    def add(self, record: logging.LogRecord) -> None:
        """Keep a record. The first one that does not fit is replaced by a record that says so, and later ones are dropped."""
        if self._space < 0:
            return
        event = _event(record)
        self._space -= len(event.data.encode())
        if self._space < 0:
            event = _event(_full_record(self._size))
        if threading.get_ident() == self._thread:
            self._put(event)
        else:
            self._loop.call_soon_threadsafe(self._put, event)


_FIELDS = JobLogFilter()


def _event(record: logging.LogRecord) -> NewEvent:
    _FIELDS.filter(record)
    return NewEvent(LOG, dump_json(log_document(record)))


_current: ContextVar[JobLog | None] = ContextVar("sidelane_job_log", default=None)


def keep_records(log: JobLog) -> None:
    """Keep the records of the running context in this log, from INFO on."""
    root = logging.getLogger()
    if not root.handlers and logging.lastResort is not None:
        root.addHandler(logging.lastResort)  # Python uses it only while there is no other handler
    root.addHandler(_HANDLER)  # again for each attempt, because a new configuration of logging removes it
    _current.set(log)


class _Handler(logging.Handler):
    """Passes records to the log of the attempt in whose context they are made."""

    def emit(self, record: logging.LogRecord) -> None:
        log = _current.get()
        if log is None:
            return
        adding = _current.set(None)  # what is logged meanwhile, e.g. by an argument's `__str__`, would not end
        try:
            log.add(record)
        except Exception:  # noqa: BLE001 - a record never fails the task
            self.handleError(record)
        finally:
            _current.reset(adding)


_HANDLER = _Handler(logging.INFO)


def _full_record(size: int) -> logging.LogRecord:
    message = f"the log of this attempt is full ({size:,} bytes): later records are dropped"
    return logging.makeLogRecord({"name": __name__, "levelno": logging.WARNING, "levelname": "WARNING", "msg": message})
