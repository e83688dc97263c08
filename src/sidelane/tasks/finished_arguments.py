"""Arguments of finished jobs: JSON values that can also be read as the values of their types."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pydantic import BaseModel, ValidationInfo

WithTypes = Callable[[str, dict[str, Any]], dict[str, Any]]
"""Returns the arguments of a job of a task, by its name, with their types."""

CONTEXT = "sidelane.with_types"
"""Key of the validation context that holds a `WithTypes`."""


class ArgumentObject(dict[str, Any]):
    """A JSON object that was made of a model: `each["memberId"]` as stored, and `each["member_id"]` by the name of the field.

    Attributes are those of the model itself: `each.member_id`.
    """

    __slots__ = ("_names", "_value")

    def __init__(self, stored: Mapping[str, Any] | Iterable[tuple[str, Any]] = (), value: object = None) -> None:
        super().__init__(stored)
        self._value = value
        fields = type(value).model_fields if isinstance(value, BaseModel) else {}
        self._names = {name: field.serialization_alias or name for name, field in fields.items()}
        for name, key in self._names.items():
            if key in self:
                self[key] = with_type(self[key], getattr(value, name))

    def __missing__(self, key: str) -> Any:
        name = self._names.get(key, key)
        if name == key:
            raise KeyError(key)
        return self[name]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (key in self._names and super().__contains__(self._names[str(key)]))

    def get(self, key: str, default: Any = None) -> Any:
        """Return a member, or the default."""
        try:
            return self[key]
        except KeyError:
            return default

    def __getattr__(self, name: str) -> Any:
        if name in self.__slots__:  # of a copy that is not complete yet
            raise AttributeError(name)
        return getattr(self._value, name)


def with_type(stored: Any, value: object) -> Any:
    """Return a JSON value whose objects can be read as the value that it was made of."""
    if isinstance(stored, dict) and not isinstance(value, Mapping):
        return ArgumentObject(stored, value)
    if isinstance(stored, list) and isinstance(value, list | tuple) and len(stored) == len(value):
        return [with_type(*pair) for pair in zip(stored, value, strict=True)]
    return stored


def validated_arguments(arguments: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
    """Return the arguments of a finished job with their types, if the context of the validation knows them."""
    with_types: WithTypes | None = (info.context or {}).get(CONTEXT)
    task = info.data.get("task")
    return arguments if with_types is None or task is None else with_types(task, arguments)
