"""Problem documents (RFC 9457): one form of error for HTTP responses, event streams, callbacks and jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

ABOUT_BLANK = "about:blank"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """A problem document (RFC 9457). `status` is an HTTP status code; `extra` holds the extension members."""

    status: int = 500
    title: str = ""
    detail: str = ""
    type: str = ABOUT_BLANK
    instance: str | None = None
    extra: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """Return the JSON object of the problem, without empty members."""
        members: dict[str, Any] = {
            "type": self.type,
            "title": self.title or _phrase(self.status),
            "status": self.status,
        }
        if self.detail:
            members["detail"] = self.detail
        if self.instance:
            members["instance"] = self.instance
        return {**self.extra, **members}

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> "Problem":
        """Read a problem from its JSON object. Members of a wrong type are ignored, as RFC 9457 requires."""
        known = {"type", "title", "status", "detail", "instance"}
        status = document.get("status")
        return cls(
            status=status if isinstance(status, int) else 500,
            title=_text(document.get("title")),
            detail=_text(document.get("detail")),
            type=_text(document.get("type")) or ABOUT_BLANK,
            instance=_text(document.get("instance")) or None,
            extra={name: value for name, value in document.items() if name not in known},
        )


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Error"
