"""What OpenAPI is told of the answers: the statuses of each route, their headers and their kinds of document."""

from collections.abc import Mapping, Sequence
from typing import Any

from sidelane.engine.registry import ProblemRule
from sidelane.web.documents import JobDocument
from sidelane.web.negotiation import EVENT_STREAM
from sidelane.web.problems import MEDIA_TYPE, ProblemDocument

Responses = dict[int | str, dict[str, Any]]


def problems(descriptions: Mapping[int, str]) -> Responses:
    """Describe answers that are problem documents, by status."""
    # `model` would claim that they are application/json too; JobDocument brings the schema into the components
    content = {MEDIA_TYPE: {"schema": {"$ref": f"#/components/schemas/{ProblemDocument.__name__}"}}}
    return {status: {"description": description, "content": content} for status, description in descriptions.items()}


def responding(result_type: Any, rules: Sequence[ProblemRule]) -> Responses:
    """Describe every answer to a request that submits a task with this type of result."""
    return {
        200: {
            "description": "The result, where the client waited for it (Prefer: wait), or the event stream.",
            "model": result_type,
            "content": _EVENTS,
        },
        202: {"description": "The job is safe; its links say where to look.", **_ACCEPTED},
        204: _SEEN_TO_THE_END,
        **problems({rule.status: rule.title or "The task failed." for rule in rules}),
        **problems(_SUBMITTING),
    }


MALFORMED = {422: "The request does not fit."}

SEEING = {
    404: "There is no such job, or it is someone else's.",
    410: "It was kept long enough.",
    503: "Try again shortly.",
}

_SUBMITTING = {
    400: "A header is malformed: Last-Event-ID or Idempotency-Key.",
    403: "The request has no user to submit for.",
    404: "The job to resume is unknown, or someone else's.",
    409: "The job cannot be beside another, or was cancelled while the request waited.",
    410: "The job to resume was kept long enough.",
    413: "The arguments are too large.",
    422: "The arguments do not fit, or the Idempotency-Key was used with another request.",
    500: "The job failed while the request waited; other statuses as its problem says.",
    503: "Jobs cannot be taken at the moment; nothing was done.",
    504: "The job ran out of time while the request waited.",
}

_ENDING = {409: "It was cancelled.", 500: "It failed; other statuses as its problem says.", 504: "It ran out of time."}

_EVENTS = {EVENT_STREAM: {"schema": {"type": "string"}}}

_ACCEPTED: dict[str, Any] = {
    "model": JobDocument,
    "headers": {
        "Location": {"description": "Where the job is.", "schema": {"type": "string"}},
        "Retry-After": {"description": "Seconds until it is worth looking.", "schema": {"type": "integer"}},
    },
}

_SEEN_TO_THE_END = {"description": "The job has ended, and this client has seen its end."}

SEEN: Responses = problems(SEEING)

RESULT: Responses = {
    **problems({**SEEING, **_ENDING}),
    202: {"description": "There is none yet.", **_ACCEPTED},
}

STREAM: Responses = {
    200: {"description": "The events.", "content": _EVENTS},
    204: _SEEN_TO_THE_END,
    **problems({400: "Last-Event-ID is malformed.", **SEEING}),
}
