"""The messages of notices: CloudEvents, whose data are in a file where they are too large to go along."""

import time
from dataclasses import replace

from sidelane.callbacks.http_client import NotDelivered
from sidelane.callbacks.payload import event_of, job_payload
from sidelane.files.files import Files
from sidelane.files.references import MAX_URL_LIFETIME
from sidelane.model.job import JobRecord
from sidelane.model.message import Message
from sidelane.transports import cloudevents
from sidelane.transports.cloudevents import CloudEvent


def job_event(job: JobRecord, message_id: str, source: str) -> CloudEvent:
    """Tell of a job as it is. `source` says by whom, as a URI reference."""
    return CloudEvent(
        id=message_id, source=source, type=f"sidelane.job.{event_of(job)}", subject=job.id,
        time=job.ended or time.time(), data=job_payload(job), traceparent=job.spec.trace,
    )  # fmt: skip


async def fit_message(told: CloudEvent, largest: int, files: Files) -> Message:
    """Make the message of an event, of `largest` bytes at most: else with a link to its data (`dataref`), good for a week.

    Raises `NotDelivered` where no link would lead others to them.
    """
    message = cloudevents.message(told, group=told.subject)
    if message.size <= largest:
        return message
    link = await files.put_text(told.data or "null", name=f"{told.subject}.json", lasts=MAX_URL_LIFETIME)
    if "://" not in link:
        raise NotDelivered(
            f"The message has {message.size:,} bytes and {largest:,} are taken; its data could go in a file, but files are in a "
            "folder that has no address for others: set SIDELANE_FILES_URL, or use a bucket."
        )
    return cloudevents.message(replace(told, data=None, dataref=link), group=told.subject)
