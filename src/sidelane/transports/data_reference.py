"""Data references. If a message is too large, its data is saved in a file, and a link to the file replaces the data.

The link is the CloudEvents extension `dataref`.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace

from sidelane.files.files import Files
from sidelane.model.errors import FilesUnavailable, SidelaneError, TransportMisconfigured
from sidelane.model.message import Message
from sidelane.transports import cloudevents


async def fit_message(message: Message, max_size: int, files: Files, *, name: str, lifetime: float) -> Message:
    """Return a message of at most `max_size` bytes. The data of a larger CloudEvent is saved in a file, which is kept `lifetime`
    seconds.

    Raises `TransportMisconfigured` if other machines cannot read such a file, and `FilesUnavailable` if it cannot be saved now.
    """
    if message.size <= max_size:
        return message
    reason = f"The message has {message.size:,} bytes, and at most {max_size:,} are accepted"
    try:
        link = await files.put_text(cloudevents.read(message.body).data or "null", name=name, lifetime=lifetime)
    except FilesUnavailable:
        raise
    except SidelaneError as error:
        raise TransportMisconfigured(f"{reason}; its data cannot be stored in a file: {error}") from error
    if "://" not in link:
        raise TransportMisconfigured(
            f"{reason}. Its data could go to a file, but the files are in a folder without a public URL: set SIDELANE_FILES_URL, "
            "or use a bucket."
        )
    return with_dataref(message, link)


def with_dataref(message: Message, link: str) -> Message:
    """Return a CloudEvent with a link instead of its data."""
    event = cloudevents.read(message.body)
    return replace(message, body=cloudevents.write(replace(event, data=None, dataref=link, datacontenttype=None)))


async def fetch_data(message: Message, read: Callable[[str], Awaitable[str]]) -> Message:
    """Return a message with the data that its `dataref` links to, if it has one.

    Raises `MalformedMessage`, and what `read` raises.
    """
    if not any(text in message.body for text in ("dataref", "\\u")):  # the name may be escaped
        return message  # the usual case, without parsing anything
    event = cloudevents.read(message.body)
    if event.data is not None or event.dataref is None:
        return message
    data = await read(event.dataref)
    return replace(message, body=cloudevents.write(replace(event, data=data, dataref=None)))
