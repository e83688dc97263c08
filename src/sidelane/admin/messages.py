"""Messages as operators see them: the endpoints of a lane, and what was sent to external workers."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sidelane.admin.documents import Document
from sidelane.admin.jobs import with_histories
from sidelane.app import Sidelane
from sidelane.external.outbox import DISPATCH_TASK
from sidelane.external.task import external_tasks
from sidelane.model.job import JobRecord, Query
from sidelane.model.worker import WorkerInfo
from sidelane.stores.contract import Store
from sidelane.transports.contract import Endpoint

MAX_SEARCHED: Final = 2000
"""The newest jobs of the store among which dispatches are searched."""

MAX_DISPATCHES: Final = 50
"""Dispatches that are listed, the newest."""


class Use(StrEnum):
    """What a lane uses an endpoint for."""

    CONSUMER = "consumer"
    REPLIES = "replies"
    DISPATCHES = "dispatches"


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointUse:
    """One use of an endpoint, by the consumer or the external tasks of these names.

    `dead_letters` is where messages go that cannot be used, if the lane says it. Otherwise the transport's own policy says it.
    `errors` are the health of workers that cannot use the endpoint now, by their names.
    """

    endpoint: str
    use: Use
    names: Sequence[str]
    dead_letters: str | None
    errors: Mapping[str, str]


def endpoint_document(use: EndpointUse) -> Document:
    """Return one use of an endpoint as JSON. `errors` are by the names of workers."""
    return {
        "endpoint": use.endpoint, "use": str(use.use), "names": list(use.names), "dead_letters": use.dead_letters,
        "errors": dict(use.errors),
    }  # fmt: skip


def endpoint_uses(lane: Sidelane, workers: Sequence[WorkerInfo]) -> list[EndpointUse]:
    """Return what a lane uses endpoints for: consumers, then replies, then dispatches."""
    names: dict[tuple[Use, Endpoint], list[str]] = {}
    for use, endpoint, name in _declared(lane):
        names.setdefault((use, endpoint), []).append(name)
    found = [
        EndpointUse(
            endpoint=str(endpoint), use=use, names=names[use, endpoint],
            dead_letters=None if use is Use.DISPATCHES else getattr(endpoint, "dead_letters", None),
            errors={worker.name: worker.health for worker in workers if str(endpoint) in worker.health},
        )
        for use, endpoint in names
    ]  # fmt: skip
    return sorted(found, key=lambda each: (list(Use).index(each.use), each.endpoint))


async def newest_dispatches(store: Store) -> list[JobRecord]:
    """Return the newest internal jobs that send jobs to external workers, with the histories of those that failed."""
    page = await store.search_jobs(Query(task=DISPATCH_TASK, limit=MAX_DISPATCHES), scan=MAX_SEARCHED)
    return await with_histories(store, page.records)


def _declared(lane: Sidelane) -> Iterator[tuple[Use, Endpoint, str]]:
    for consumer in lane.consumers:
        yield Use.CONSUMER, consumer.endpoint, consumer.name
    for task in external_tasks(lane.registry):
        if task.routing.replies_from is not None:
            yield Use.REPLIES, task.routing.replies_from, task.name
        yield Use.DISPATCHES, task.routing.send_to, task.name
