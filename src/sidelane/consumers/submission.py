"""Submission of the job of a message, when the message arrives, and when an operator requeues it."""

import logging
from http import HTTPStatus

from sidelane.client.client import Client
from sidelane.model.errors import JobRefused
from sidelane.model.job import JobSpec

logger = logging.getLogger(__name__)


async def submit_once(client: Client, spec: JobSpec, message_id: str) -> None:
    """Submit the job of a message, unless the message already has a job, or had one that was removed.

    Raises `StoreUnavailable`, `QueueFull` or `LimitReached`, and `JobRefused` if the job can never be accepted.
    """
    try:
        submission = await client.submit_spec(spec)
    except JobRefused as error:
        if error.status != HTTPStatus.GONE:
            raise
        logger.info("message %s was delivered again after its job %s was removed", message_id, spec.id)
    else:
        if not submission.created:
            logger.info("message %s already has its job %s", message_id, submission.record.id)
