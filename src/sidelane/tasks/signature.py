"""Signature: the arguments, dependencies and result type of a task's function."""

import inspect
import typing
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Container, Iterable, Mapping
from functools import cached_property
from itertools import takewhile
from typing import Any, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, create_model

from sidelane.files.file import File
from sidelane.model.codec import Codec
from sidelane.model.errors import ArgumentsError, ArgumentsMismatch, TaskDeclarationError
from sidelane.model.json_text import dump_json
from sidelane.tasks.placeholders import Placeholder
from sidelane.tasks.resources import annotated_source, dependencies_of

R = TypeVar("R")

Kind = Literal["coroutine", "async generator", "function", "generator"]


class Result(Generic[R]):
    """The typed result of a generator task: `yield Result(report)`. The last `Result` counts."""

    __slots__ = ("value",)

    def __init__(self, value: R) -> None:
        self.value = value


class Signature:
    """A task function's parameters, dependencies, kind and result type. Annotations are resolved when first used."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._signature = inspect.signature(function)
        self.uses = dependencies_of(function)
        self.kind: Kind = _kind(function)
        for parameter in self._signature.parameters.values():
            if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
                raise TaskDeclarationError(
                    f"Task {function.__qualname__!r}: parameter {str(parameter)!r} cannot be passed by name. "
                    "Arguments are stored by name, so '*args', '**kwargs' and positional-only parameters are not allowed."
                )
        self._partial: dict[tuple[str, ...], Codec[BaseModel]] = {}
        arguments = [each for each in self._signature.parameters.values() if each.name not in self.uses]
        self._of_call = self._signature.replace(parameters=arguments)
        self._positional = [each.name for each in arguments if each.kind is each.POSITIONAL_OR_KEYWORD]

    @property
    def names(self) -> list[str]:
        """The names of the arguments in order: the parameters that the worker does not fill in."""
        return list(self._of_call.parameters)

    @property
    def is_async(self) -> bool:
        """Whether the function runs on the event loop."""
        return self.kind in ("coroutine", "async generator")

    @cached_property
    def arguments(self) -> type[BaseModel]:
        """The pydantic model of the stored arguments."""
        return self._model(self.names)

    def _model(self, names: Iterable[str]) -> type[BaseModel]:
        fields: dict[str, Any] = {}
        for parameter in map(self._signature.parameters.__getitem__, names):
            annotation = self._hints.get(parameter.name, Any)
            if annotated_source(annotation) is not None:
                raise TaskDeclarationError(
                    f"Task {self._function.__qualname__!r}: what its parameter {parameter.name!r} uses is declared "
                    "below the task; declare it above."
                )
            fields[parameter.name] = (annotation, ... if parameter.default is parameter.empty else parameter.default)
        try:
            return create_model(self._function.__name__, __config__=_ARGUMENTS, **fields)
        except Exception as error:
            raise TaskDeclarationError(
                f"Task {self._function.__qualname__!r}: {_without_json_form(fields)} has no JSON form: "
                f"{_first_sentence(error)}; a client or a session is no argument but a resource, passed by Use(…)."
            ) from error

    @cached_property
    def _codec(self) -> Codec[BaseModel]:
        return Codec(self.arguments)

    @cached_property
    def result(self) -> Codec[Any]:
        """The codec of the result."""
        if typing.get_origin(self.result_type) in (AsyncIterator, AsyncGenerator):
            raise TaskDeclarationError(
                f"Task {self._function.__qualname__!r}: it is declared to return an asynchronous iterator, and has no `yield`."
            )
        try:
            return Codec(self.result_type)
        except Exception as error:
            raise TaskDeclarationError(
                f"Task {self._function.__qualname__!r}: its result has no JSON form: {_first_sentence(error)}."
            ) from error

    def encode(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str, dict[str, str]]:
        """Bind and check a call's arguments. Return the JSON object of the known arguments, and the sources of the placeholders.

        Raises `ArgumentsError`.
        """
        name = self._function.__name__
        bound = dict(zip(self._positional, args, strict=False))
        if len(args) > len(self._positional) or (kwargs and not self._are_new(kwargs, bound)):
            raise ArgumentsError(f"{name}: {self._bind_error(args, kwargs)}.")
        bound.update(kwargs)
        for used in self.uses:
            if used in bound:
                raise ArgumentsError(f"{name}: {used!r} is filled in by the worker; a call cannot pass it.")
        placeholders = {name: value.source for name, value in bound.items() if isinstance(value, Placeholder)}
        codec = self._codec_without(placeholders) if placeholders else self._codec
        if placeholders:
            bound = {name: value for name, value in bound.items() if name not in placeholders}
        try:
            text = codec.encode(bound)
        except TypeError as error:
            raise ArgumentsError(f"{name}: {error}.") from error
        return text, placeholders

    @cached_property
    def takes_files(self) -> bool:
        """Whether the types of the arguments or the result contain files."""
        return self._codec.has(File) or self.result.has(File)

    def known_values(self, text: str, placeholders: Mapping[str, str]) -> list[Any]:
        """Return the values of a call's arguments in the order of the parameters, up to the first placeholder."""
        values = (self._codec_without(placeholders) if placeholders else self._codec).decode(text).__dict__
        return [values[name] for name in takewhile(values.__contains__, self.names)]

    def decode_known(self, arguments: Mapping[str, Any], context: Mapping[str, Any]) -> dict[str, Any]:
        """Return the typed values of JSON values by name, which need not be all. Raises TypeError if they do not fit."""
        unknown = {name for name in self.names if name not in arguments}
        return dict(self._codec_without(unknown).decode(dump_json(arguments), context).__dict__)

    def _codec_without(self, placeholders: Container[str]) -> Codec[BaseModel]:
        """Return the codec of the other arguments."""
        known = tuple(name for name in self.names if name not in placeholders)
        if known not in self._partial:
            self._partial[known] = Codec(self._model(known))
        return self._partial[known]

    def _are_new(self, kwargs: dict[str, Any], bound: dict[str, Any]) -> bool:
        return kwargs.keys() <= self._signature.parameters.keys() and kwargs.keys().isdisjoint(bound)

    def _bind_error(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """Return Python's own message about why these arguments cannot be bound."""
        try:
            self._of_call.bind_partial(*args, **kwargs)
        except TypeError as error:
            return str(error)
        return "these arguments do not fit"

    def decode(self, text: str, context: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Decode stored arguments as keyword arguments.

        `context` is for the validation of the arguments. Raises `ArgumentsMismatch`.
        """
        try:
            model = self._codec.decode(text, context)
        except TypeError as error:
            raise ArgumentsMismatch(f"{self._function.__name__}: the stored arguments do not fit: {error}.") from error
        return dict(model.__dict__)  # only the fields: the model forbids others

    @cached_property
    def _hints(self) -> dict[str, Any]:
        try:
            return typing.get_type_hints(self._function, include_extras=True)
        except NameError as error:
            raise TaskDeclarationError(
                f"Task {self._function.__qualname__!r}: an annotation cannot be resolved: {error}. "
                "Import its name outside `if TYPE_CHECKING`."
            ) from error

    @property
    def result_type(self) -> Any:
        """The type of the result.

        It is the return type of the function, or the type that a generator yields as `Result`, else text.
        """
        annotation = self._hints.get("return", Any)
        if self.kind in ("coroutine", "function"):
            return annotation
        yielded = (typing.get_args(annotation) or (str,))[0]
        for member in (yielded, *typing.get_args(yielded)):
            if typing.get_origin(member) is Result:
                return typing.get_args(member)[0]
        return str


def _without_json_form(fields: Mapping[str, Any]) -> str:
    """Return those of these parameters for which pydantic has no schema."""
    for name, field in fields.items():
        try:
            create_model("Argument", __config__=_ARGUMENTS, **{name: field})
        except Exception:  # noqa: BLE001 - pydantic and the annotated types raise errors of any type
            return f"its parameter {name!r}"
    return "one of its parameters"


def _first_sentence(error: Exception) -> str:
    return str(error).partition("\n")[0].partition(". ")[0].rstrip(".")


_ARGUMENTS = ConfigDict(extra="forbid", arbitrary_types_allowed=False, protected_namespaces=())


def _kind(function: Callable[..., Any]) -> Kind:
    if inspect.isasyncgenfunction(function):
        return "async generator"
    if inspect.iscoroutinefunction(function):
        return "coroutine"
    return "generator" if inspect.isgeneratorfunction(function) else "function"
