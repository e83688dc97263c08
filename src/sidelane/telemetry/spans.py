"""Spans about jobs: their names and attributes, by the messaging conventions of OpenTelemetry."""

from typing import Final, Literal

from sidelane.model.job import JobSpec
from sidelane.telemetry.tracer import AttributeValue

Operation = Literal["send", "process", "receive"]

SYSTEM: Final = "sidelane"


def job_attributes(operation: Operation, spec: JobSpec) -> dict[str, AttributeValue]:
    """Return the attributes that all spans about a job have."""
    attributes: dict[str, AttributeValue] = {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": spec.queue,
        "messaging.message.id": spec.id,
        "sidelane.task": spec.task,
    }
    if spec.user is not None:
        attributes["user.id"] = spec.user
    return attributes


def batch_attributes(batch: str, count: int) -> dict[str, AttributeValue]:
    """Return the attributes of the span of a submit of `count` jobs as one batch."""
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.batch.message_count": count,
        "sidelane.batch": batch,
    }
