"""OpenAPI descriptions of responses: statuses, headers and documents of each route."""

from collections.abc import Mapping, Sequence
from typing import Any

from sidelane.model.limit import LimitPolicy
from sidelane.tasks.registry import ProblemRule
from sidelane.web.documents import BatchDocument, JobDocument
from sidelane.web.negotiation import EVENT_STREAM
from sidelane.web.problems import MEDIA_TYPE, ProblemDocument

Responses = dict[int | str, dict[str, Any]]


def problems(descriptions: Mapping[int, str] | Mapping[str, str], *, alone: bool = False) -> Responses:
    """Return OpenAPI responses that are problem documents, from descriptions by status.

    With `alone`, an application may have these routes without those that return a `JobDocument`.
    """
    # `model` would declare application/json too; the schema gets into the components through JobDocument
    reference = {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}
    content = {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema() if alone else reference}}
    return {status: {"description": description, "content": content} for status, description in descriptions.items()}


def job_responses(result_type: Any, rules: Sequence[ProblemRule], limits: Sequence[LimitPolicy]) -> Responses:
    """Return every response to a request that submits a task with this result type, these `lane.problem` rules and limits."""
    return {
        200: {
            "description": "The result, if the client waited for it (Prefer: wait), or the event stream.",
            "model": result_type,
            "content": _events(),
        },
        202: {"description": "The job is stored; its links lead to its state, events and result.", **_ACCEPTED},
        204: _STREAM_FINISHED,
        **problems({rule.status: rule.title or "The task failed." for rule in rules if not rule.internal}),
        **problems({**_SUBMIT_ERRORS, **_WAIT_ERRORS}),
        **CHOSEN_BY_TASK,
        **_retryable(limits),
    }


def batch_responses(limits: Sequence[LimitPolicy]) -> Responses:
    """Return every response to a request that submits a batch of a task with these limits."""
    return {
        202: {
            "description": "The jobs are stored, except those listed as refused; the links lead to the batch's state and events.",
            "model": BatchDocument,
            "headers": _ACCEPTED["headers"],
        },
        **problems(_SUBMIT_ERRORS),
        **_retryable(limits),
    }


def _events() -> dict[str, Any]:
    """Return the content of an event stream, as a new object: older versions of FastAPI write a route's schema into it."""
    return {EVENT_STREAM: {"schema": {"type": "string"}}}


def _retryable(limits: Sequence[LimitPolicy]) -> Responses:
    """Return the responses after which a client may retry: 503, and 429 if a limit rejects jobs."""
    responses = problems({503: _UNAVAILABLE})
    if any(limit.on_limit == "reject" for limit in limits):
        responses |= problems(
            {429: "A limit is reached: `violated-policies` names it, Retry-After has the seconds until a retry."}
        )
        responses[429]["headers"] = {**_RETRY_AFTER, **_LIMIT_FIELDS}
    responses[503]["headers"] = _RETRY_AFTER
    return responses


CURSOR_SCHEMA = {"pattern": r"^([A-Za-z0-9._~-]{1,128}:[0-9a-f]{1,8}:[0-9]{1,15})?$"}
"""What a Last-Event-ID must look like. It is read by hand, so this only describes it."""

IDEMPOTENCY_KEY_SCHEMA = {"pattern": r'^(".{1,255}"|(?!".*"$).{1,255})$'}
"""What an Idempotency-Key must look like. It is read by hand, so this only describes it."""

CHOSEN_BY_TASK: Responses = problems({"default": "The job failed, and its task chose the status."})

MALFORMED = {422: "The request is invalid."}

JOB_ERRORS = {
    403: "The id can be guessed, so it gives no access here.",
    404: "There is no such job, or it belongs to another user.",
    410: "The job was removed after its retention.",
    503: "Try again shortly.",
}

COMPLETION_ERRORS = {
    403: "The token is missing, forged, or of another job.",
    409: "The dispatch is no longer current, or earlier events are missing; nothing was changed.",
    413: "The body, or the result in it, is too large.",
    422: "The body is invalid. If its result is not of the task's type, the job has failed.",
    503: "Try again shortly.",
}

_SUBMIT_ERRORS = {
    400: "A header is malformed: Last-Event-ID or Idempotency-Key.",
    403: "The request has no user, or the job has an id that can be guessed and would give no access.",
    409: "The job conflicts with another one.",
    413: "The arguments are too large.",
    422: "The arguments do not fit the task, or the Idempotency-Key was used with another request whose job is still kept.",
    500: "The service made a mistake.",
}

_WAIT_ERRORS = {
    404: "There is no such job to resume, or it belongs to another user.",
    409: "The job conflicts with another one, or was cancelled while the request waited.",
    410: "The job to resume was removed after its retention.",
    500: "The job failed while the request waited.",
    504: "The job timed out while the request waited.",
}

_UNAVAILABLE = "The service is temporarily unavailable, or the queue is full; nothing was done."

_RESULT_ERRORS = {
    409: "The job was cancelled.",
    500: "The job failed.",
    504: "The job timed out.",
}

_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds until the next look or retry is worthwhile.",
        "schema": {"type": "integer"},
    }
}

_LIMIT_FIELDS = {
    "RateLimit-Policy": {
        "description": 'The limits that were reached: `"name";q=3;qu="concurrent-requests"` allows 3 unfinished jobs, '
        '`"name";q=10;w=60` allows 10 jobs per 60 seconds.',
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'What is left of them: `"name";r=0;t=12`. `t` is the seconds until a job is admitted; absent if unknown.',
        "schema": {"type": "string"},
    },
}

_ACCEPTED: dict[str, Any] = {
    "model": JobDocument,
    "headers": {
        "Location": {"description": "The document of the job or batch.", "schema": {"type": "string"}},
        **_RETRY_AFTER,
    },
}

_STREAM_FINISHED = {"description": "The job has ended, and this client has received its `end` event."}

JOB_RESPONSES: Responses = problems(JOB_ERRORS)

CURRENT_RESPONSES: Responses = problems(
    {403: "A key can be guessed, so it gives no access here.", 404: "There is no such job.", 503: JOB_ERRORS[503]}
)

BATCH_RESPONSES: Responses = problems(
    {403: JOB_ERRORS[403], 404: "There is no such batch, or it belongs to another user.", 503: JOB_ERRORS[503]}
)

BATCH_STREAM_RESPONSES: Responses = {200: {"description": "The events.", "content": _events()}, **BATCH_RESPONSES}

RESULT_RESPONSES: Responses = {
    **problems({**JOB_ERRORS, **_RESULT_ERRORS}),
    **CHOSEN_BY_TASK,
    202: {"description": "The job has not finished.", **_ACCEPTED},
}

STREAM_RESPONSES: Responses = {
    200: {"description": "The events.", "content": _events()},
    204: _STREAM_FINISHED,
    **problems({400: "Last-Event-ID is malformed.", **JOB_ERRORS}),
}
