"""Advised lines: what to change in the description of a service, so that its groups are as advised."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sidelane.admin.advice import ServiceAdvice
from sidelane.ops.description import Description
from sidelane.ops.groups import ApiGroup, WorkerGroup
from sidelane.sizing.services import Kind


@dataclass(frozen=True, slots=True)
class ChangedLine:
    """A key of a group with its new value in TOML, and what it is now."""

    table: str
    key: str
    value: str
    now: str


def changed_lines(description: Description, services: Sequence[ServiceAdvice]) -> list[ChangedLine]:
    """Return the lines to change, in the order of the services. Services that no group describes have none.

    API processes do not know their group. So their number is that of the only API group, if there is one.
    """
    return [line for service in services if service.busiest is not None for line in _of_service(description, service)]


def _of_service(description: Description, service: ServiceAdvice) -> Iterator[ChangedLine]:
    size = service.size
    if size.kind is Kind.API:
        apis = {name: group for name, group in description.groups.items() if isinstance(group, ApiGroup)}
        if len(apis) == 1:
            for name, api in apis.items():
                yield from _line(f"api.{name}", "processes", str(size.processes), api, str(api.processes))
        return
    group = description.groups.get(size.name)
    if not isinstance(group, WorkerGroup):
        return
    table, bounds = f"worker.{size.name}", group.bounds
    if bounds is None:
        yield from _line(table, "processes", str(size.processes), group, str(group.processes))
    elif size.processes > bounds.most:
        yield from _line(table, "autoscale", f'"{bounds.least}..{size.processes}"', group, f'"{bounds}"')
    queues = group.queues or ()
    slotted = any("=" in queue for queue in queues)
    if slotted:
        names = [queue.partition("=")[0] for queue in queues]
        wanted = [
            f"{name}={size.queue_slots[name]}" if name in size.queue_slots else queue
            for name, queue in zip(names, queues, strict=True)
        ]
        yield from _line(table, "queues", json.dumps(wanted), group, json.dumps(queues))
    if group.concurrency is not None or not slotted:
        yield from _line(table, "concurrency", str(size.slots), group, str(group.concurrency or service.slots))


def _line(table: str, key: str, value: str, group: ApiGroup | WorkerGroup, now: str) -> Iterator[ChangedLine]:
    if value != now:
        yield ChangedLine(table, key, value, now if key in group.model_fields_set else f"{now}, the default")
