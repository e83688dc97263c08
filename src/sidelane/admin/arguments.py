"""Arguments that operators write: parsed, checked against a task, and suggested from its schema."""

import json
from collections.abc import Mapping
from typing import Any, NoReturn

from sidelane.model.codec import check_size
from sidelane.model.errors import ArgumentsError, ArgumentsMismatch, UnknownTask
from sidelane.model.job import JobSpec
from sidelane.model.json_text import dump_json
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.settings import Settings
from sidelane.tasks.registry import AnyTask, Registry

EXAMPLES: Mapping[str, Any] = {"string": "", "integer": 0, "number": 0.0, "boolean": False, "array": [], "object": {}}
"""A value of each type of JSON Schema."""


def parse_arguments(text: str) -> str:
    """Return the JSON text of arguments that a person wrote. Raises `ArgumentsError` unless they are a JSON object."""
    value = parse_json_input(text)
    if not isinstance(value, dict):
        raise ArgumentsError('The input must be a JSON object by parameter name, e.g. {"question": "Why?"}.')
    return dump_json(value)


def parse_json_input(text: str) -> Any:
    """Return the value of JSON text that a person wrote. Raises `ArgumentsError`."""
    try:
        return json.loads(text, parse_constant=_reject_constant)
    except ValueError as error:
        raise ArgumentsError(f"The input is not valid JSON: {error}.") from error
    except RecursionError:
        raise ArgumentsError("The input is not valid JSON: it is nested too deeply.") from None


def check_arguments(text: str, spec: JobSpec, settings: Settings, registry: Registry | None) -> None:
    """Check new arguments for a job: their size, and their types if the registry of its lane is given.

    Raises `PayloadTooLarge` if they are too large, `ArgumentsError` if they do not fit the task, and `UnknownTask` if the lane does
    not have the task.
    """
    check_size(text, settings.payload_limit, "The input")
    if registry is None:
        return
    task = registry.tasks.get(spec.task)
    if task is None:
        raise UnknownTask(
            f"The lane has no task {spec.task!r}, so the input cannot be checked. Omit --lane to skip the check."
        )
    if spec.placeholders.keys() - json.loads(text).keys():
        return  # missing arguments are filled in from the parent's result when the job starts
    try:
        task.decode_arguments(text, spec.version)
    except ArgumentsMismatch as error:
        raise ArgumentsError(
            f"The input does not fit task {spec.task!r}: {error.__cause__ or error}. Nothing was changed."
        ) from error


def users_tasks(registry: Registry) -> dict[str, AnyTask]:
    """Return the tasks of a lane by name, without aliases and internal tasks."""
    tasks = registry.tasks.items()
    return {name: task for name, task in sorted(tasks) if name == task.name and not name.startswith(INTERNAL_PREFIX)}


def schema_of(task: AnyTask) -> dict[str, Any]:
    """Return the JSON Schema of a task's arguments."""
    return task.signature.arguments.model_json_schema()


def example_of(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return arguments to begin with: the defaults of a schema, and an empty value of each type that has none."""
    return {name: _example(part) for name, part in schema.get("properties", {}).items()}


def fields_of(schema: Mapping[str, Any]) -> list[tuple[str, str, bool, Any]]:
    """Return the fields of a JSON Schema: name, type in words, whether it is required, and its default."""
    required = schema.get("required", [])
    return [
        (name, _type_text(part), name in required, part.get("default"))
        for name, part in schema.get("properties", {}).items()
    ]


def _type_text(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " | ".join(map(_type_text, schema["anyOf"]))
    if "enum" in schema:
        return " | ".join(json.dumps(each, ensure_ascii=False) for each in schema["enum"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if schema.get("type") == "array":
        return f"array of {_type_text(schema.get('items', {}))}"
    return str(schema.get("type", "any"))


def _example(schema: Mapping[str, Any]) -> Any:
    if "default" in schema:
        return schema["default"]
    if choices := schema.get("enum"):
        return choices[0]
    return EXAMPLES.get(schema.get("type", ""))


def _reject_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")
