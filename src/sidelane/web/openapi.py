"""What OpenAPI is told of the answers: the statuses of each route, their headers and their kinds of document."""

from collections.abc import Mapping, Sequence
from typing import Any

from sidelane.model.limit import LimitPolicy
from sidelane.tasks.registry import ProblemRule
from sidelane.web.negotiation import EVENT_STREAM
from sidelane.web.problems import MEDIA_TYPE, ProblemDocument
from sidelane.web.schemas import BatchDocument, JobDocument

Responses = dict[int | str, dict[str, Any]]


def problems(descriptions: Mapping[int, str]) -> Responses:
    """Describe answers that are problem documents, by status."""
    # `model` would claim that they are application/json too; JobDocument brings the schema into the components
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}}
    return {status: {"description": description, "content": content} for status, description in descriptions.items()}


def responding(result_type: Any, rules: Sequence[ProblemRule], limits: Sequence[LimitPolicy]) -> Responses:
    """Describe every answer to a request that submits a task with this type of result and these limits."""
    return {
        200: {
            "description": "The result, where the client waited for it (Prefer: wait), or the event stream.",
            "model": result_type,
            "content": _EVENTS,
        },
        202: {"description": "The job is safe; its links say where to look.", **_ACCEPTED},
        204: _STREAM_FINISHED,
        **problems({rule.status: rule.title or "The task failed." for rule in rules}),
        **problems({**_SUBMITTING, **_WAITING}),
        **_refusing(limits),
    }


def responding_many(limits: Sequence[LimitPolicy]) -> Responses:
    """Describe every answer to a request that submits a batch of a task with these limits."""
    return {
        202: {
            "description": "The jobs are safe, but for those listed as refused; the links say where to look.",
            "model": BatchDocument,
            "headers": _ACCEPTED["headers"],
        },
        **problems(_SUBMITTING),
        **_refusing(limits),
    }


def _refusing(limits: Sequence[LimitPolicy]) -> Responses:
    """Describe the answers that ask a client to come back: 429 only where a limit refuses jobs."""
    refusing = problems({503: _UNAVAILABLE})
    if any(limit.on_limit == "reject" for limit in limits):
        refusing |= problems(
            {429: "A limit is reached: `violated-policies` names it, Retry-After says when to try again."}
        )
        refusing[429]["headers"] = {**_RETRY_AFTER, **_LIMIT_FIELDS}
    refusing[503]["headers"] = _RETRY_AFTER
    return refusing


MALFORMED = {422: "The request does not fit."}

JOB_ERRORS = {
    403: "Its id can be guessed, and opens nothing here.",
    404: "There is no such job, or it is someone else's.",
    410: "It was kept long enough.",
    503: "Try again shortly.",
}

COMPLETING = {
    403: "The token is missing, forged, or another job's.",
    409: "The hand-over is over, or events before these are missing; nothing was changed.",
    413: "The body, or the result in it, is too large.",
    422: "The body does not fit; a result that is not of the task's type was a failure of the job.",
    503: "Try again shortly.",
}

_SUBMITTING = {
    400: "A header is malformed: Last-Event-ID or Idempotency-Key.",
    403: "The request has no user to submit for, or the job an id that can be guessed and would open nothing.",
    409: "Another job stands in the way.",
    413: "The arguments are too large.",
    422: "The arguments do not fit, or the Idempotency-Key was used with another request (it is known while its job is kept).",
    500: "The service made a mistake.",
}

_WAITING = {
    404: "The job to resume is unknown, or someone else's.",
    409: "The job cannot be beside another, or was cancelled while the request waited.",
    410: "The job to resume was kept long enough.",
    500: "The job failed while the request waited; other statuses as its problem says.",
    504: "The job ran out of time while the request waited.",
}

_UNAVAILABLE = "Jobs cannot be taken at the moment, or too many wait in the queue; nothing was done."

_ENDING = {409: "It was cancelled.", 500: "It failed; other statuses as its problem says.", 504: "It ran out of time."}

_EVENTS = {EVENT_STREAM: {"schema": {"type": "string"}}}

_RETRY_AFTER = {
    "Retry-After": {
        "description": "Seconds until it is worth looking, or trying, again.",
        "schema": {"type": "integer"},
    }
}

_LIMIT_FIELDS = {
    "RateLimit-Policy": {
        "description": 'The limits that were reached: `"name";q=3;qu="concurrent-requests"` lets 3 jobs be unfinished at once, '
        '`"name";q=10;w=60` lets 10 in within 60 seconds.',
        "schema": {"type": "string"},
    },
    "RateLimit": {
        "description": 'How they stand: `"name";r=0;t=12`. `t`, in how many seconds there is room, is left out where nobody '
        "can say.",
        "schema": {"type": "string"},
    },
}

_ACCEPTED: dict[str, Any] = {
    "model": JobDocument,
    "headers": {"Location": {"description": "Where it is.", "schema": {"type": "string"}}, **_RETRY_AFTER},
}

_STREAM_FINISHED = {"description": "The job has ended, and this client has seen its end."}

JOB_RESPONSES: Responses = problems(JOB_ERRORS)

CURRENT: Responses = problems(
    {403: "A key can be guessed, and opens nothing here.", 404: "There is none.", 503: JOB_ERRORS[503]}
)

BATCH_RESPONSES: Responses = problems(
    {403: JOB_ERRORS[403], 404: "There is no such batch, or it is someone else's.", 503: JOB_ERRORS[503]}
)

BATCH_STREAM: Responses = {200: {"description": "The events.", "content": _EVENTS}, **BATCH_RESPONSES}

RESULT: Responses = {
    **problems({**JOB_ERRORS, **_ENDING}),
    202: {"description": "There is none yet.", **_ACCEPTED},
}

STREAM: Responses = {
    200: {"description": "The events.", "content": _EVENTS},
    204: _STREAM_FINISHED,
    **problems({400: "Last-Event-ID is malformed.", **JOB_ERRORS}),
}
