"""The filter that adds the running attempt to log records."""

import logging
from typing import Any, cast

import pytest

from sidelane import Context, JobLogFilter
from sidelane.tasks.context import current_context

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def filtered(context: Context | None, **attributes: Any) -> dict[str, Any]:
    """Return the attributes that a record has after two handlers with the filter."""
    record, plain = logging.makeLogRecord(attributes), vars(logging.makeLogRecord({}))
    reset = current_context.set(context)
    try:
        assert all(JobLogFilter().filter(record) for _ in range(2))
    finally:
        current_context.reset(reset)
    return {name: value for name, value in vars(record).items() if name not in plain}


def context(trace: str | None = None) -> Context:
    return Context(job_id="j1", task="answer", queue="chat", attempt=2, trace=trace, channel=cast(Any, None))


def test_a_record_outside_of_attempts_gets_nothing() -> None:
    assert filtered(None, size=3) == {"size": 3}


def test_a_record_within_an_attempt_gets_its_job() -> None:
    assert filtered(context()) == {"job": "j1", "attempt": 2, "task": "answer", "queue": "chat"}


def test_the_ids_of_a_trace_are_fields() -> None:
    found = filtered(context(TRACE))
    assert (found["trace_id"], found["span_id"]) == (TRACE[3:35], TRACE[36:52])


@pytest.mark.parametrize("trace", ["", "x", "a-b"])
def test_a_malformed_trace_is_ignored(trace: str) -> None:
    assert "trace_id" not in filtered(context(trace))


def test_a_field_of_the_same_name_keeps_its_value_under_another_name() -> None:
    found = filtered(context(), job="mine", queue="chat")
    assert (found["job"], found["extra_job"], found["queue"]) == ("j1", "mine", "chat")
    assert "extra_queue" not in found
