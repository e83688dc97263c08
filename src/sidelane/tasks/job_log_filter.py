"""Filter that adds the running attempt to log records, those of the user's own loggers included."""

import logging

from sidelane.tasks.context import Context, current_context


class JobLogFilter(logging.Filter):
    """Adds `job`, `attempt`, `task` and `queue`, and `trace_id` and `span_id` if the job has a trace, to records within an attempt.

    Add it to a handler. A field of `extra` with such a name becomes `extra_job`, and so on.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        context = current_context.get()
        if context is not None:
            attributes = vars(record)
            for name, value in _fields(context).items():
                if attributes.get(name, value) != value:
                    attributes[f"extra_{name}"] = attributes[name]
                attributes[name] = value
        return True


def _fields(context: Context) -> dict[str, str | int]:
    fields: dict[str, str | int] = {
        "job": context.job_id,
        "attempt": context.attempt,
        "task": context.task,
        "queue": context.queue,
    }
    trace = (context.trace or "").split("-")
    if len(trace) >= 3:  # a `traceparent`: version, trace id, span id, flags
        fields["trace_id"], fields["span_id"] = trace[1], trace[2]
    return fields
