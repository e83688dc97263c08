"""Where a client goes on: what it sends as Last-Event-ID, read with care."""

from sidelane.model.errors import SidelaneError
from sidelane.model.event import Cursor


class MalformedCursor(SidelaneError):
    """Last-Event-ID is not the id of an event of this job."""

    status = 400


def parse_cursor(text: str | None, job_id: str | None = None) -> tuple[str, Cursor] | None:
    """Read a Last-Event-ID; empty is none. Raises `MalformedCursor`, also where it is of another job than `job_id`."""
    if not text:
        return None
    try:
        of, place = Cursor.parse(text)
    except ValueError as error:
        raise MalformedCursor(f"Last-Event-ID {text[:80]!r} is not the id of an event.") from error
    if job_id is not None and of != job_id:
        raise MalformedCursor(f"Last-Event-ID {text[:80]!r} is of another job.")
    return of, place
