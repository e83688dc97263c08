"""Declared queues of a lane: their check, and the queue that a task or a worker names."""

from collections.abc import Iterator, Mapping, Sequence

from sidelane.model.errors import ConfigurationError, TaskDeclarationError, UnknownQueue
from sidelane.model.queue import DEFAULT_QUEUE, Queue
from sidelane.tasks.internal_queues import check_not_internal
from sidelane.tasks.task_options import PolicyOptions


def queues_by_name(queues: Sequence[Queue]) -> dict[str, Queue]:
    """Return the queues of a lane by name, with the default one. Raises `ConfigurationError`."""
    for queue in _all_queues(queues):
        check_not_internal(queue.name)
    by_name = {queue.name: queue for queue in queues}
    if len(by_name) < len(queues):
        raise ConfigurationError("Two queues of this lane have the same name.")
    by_name.setdefault(DEFAULT_QUEUE, Queue(DEFAULT_QUEUE))
    return by_name


def _all_queues(values: object) -> Iterator[Queue]:
    """Yield the queues of a list. Raises `ConfigurationError` if it is not a list or an item is not a queue."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ConfigurationError(f"queues={values!r}: this is a list of Queue(…).")
    for each in values:
        if not isinstance(each, Queue):
            example = f"Queue({each!r})" if isinstance(each, str) else "Queue(…)"
            raise ConfigurationError(f"queues={values!r}: a queue is declared here, not named; write {example}.")
        yield each


def queue_of(declared: Mapping[str, Queue], task: str, fields: PolicyOptions) -> Queue:
    """Return the queue of a task.

    Raises `UnknownQueue` if the queue is not declared, `TaskDeclarationError` if `queue` is not a name, and `ConfigurationError` if
    the task's name is reserved.
    """
    check_not_internal(task)
    name = fields.get("queue", DEFAULT_QUEUE)
    invalid = _not_a_name("queue", name)
    if invalid:
        raise TaskDeclarationError(f"Task {task!r}: {invalid}")
    if name not in declared:
        raise UnknownQueue(
            f"Task {task!r} needs queue {name!r}; this lane declares {', '.join(declared)}. Add Queue({name!r}) to its queues."
        )
    return declared[name]


def selected_queues(
    declared: Mapping[str, Queue], selected: Mapping[str, int | None] | None
) -> Mapping[str, int | None]:
    """Return the queues of a worker (None: all), each with its slots (None: as declared).

    Raises `UnknownQueue` if a queue is not declared, and `ConfigurationError` if `selected` is not a mapping of names.
    """
    if selected is None:
        return dict.fromkeys(declared)
    if not isinstance(selected, Mapping):
        raise ConfigurationError(
            f"queues={selected!r}: this is a mapping of names to slots, e.g. {{'chat': 4, 'gpu': None}}."
        )
    for name in selected:
        invalid = _not_a_name("queues", name)
        if invalid:
            raise ConfigurationError(invalid)
        if name not in declared:
            raise UnknownQueue(f"There is no queue {name!r}; this lane declares {', '.join(declared)}.")
    return selected


def _not_a_name(parameter: str, value: object) -> str | None:
    """Return what is wrong with a value in place of a queue's name, or None."""
    if isinstance(value, Queue):
        return f"{parameter}=Queue({value.name!r}): a queue is named here, not declared; write {value.name!r}."
    return None if isinstance(value, str) else f"{parameter}={value!r}: this takes the name of a queue."
