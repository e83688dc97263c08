"""Largest upload of an application: the largest `max_bytes` that the modules of its endpoints pass to `save` and `upload_url`."""

import ast
import inspect
import operator
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from sidelane.web.routes import AppRoute

CALLS = frozenset({"save", "upload_url"})
"""Methods of `lane.files` that take `max_bytes`."""

OPERATORS: Mapping[type[ast.operator], Callable[[int, int], int]] = {
    ast.Mult: operator.mul, ast.Add: operator.add, ast.LShift: operator.lshift,
}  # fmt: skip

MAX_EXPONENT = 20
"""Largest exponent that is computed, e.g. in `50 * 2**20`; a mistyped one would take all memory."""


@dataclass(frozen=True, slots=True)
class UploadLimit:
    """The size in bytes, and the line of source that declares it."""

    size: int
    source: str


def largest_upload(routes: Iterable[AppRoute], folder: Path) -> UploadLimit | None:
    """Return the largest limit that the source of the endpoints declares as a constant, or None if none is found.

    Sources are shown relative to `folder`.
    """
    names = {getattr(inspect.unwrap(route.endpoint), "__module__", "") for route in routes}
    modules = [sys.modules[name] for name in sorted(names - {""}) if name in sys.modules]
    found = [
        limit for module in modules if not module.__name__.startswith("sidelane.") for limit in _limits(module, folder)
    ]
    return max(found, key=lambda limit: limit.size, default=None)


def _limits(module: ModuleType, folder: Path) -> list[UploadLimit]:
    try:
        tree = ast.parse(inspect.getsource(module))
    except (OSError, TypeError, SyntaxError):  # no source, e.g. a compiled module
        return []
    file = Path(module.__file__ or module.__name__)
    path = file.relative_to(folder) if file.is_relative_to(folder) else file.name
    return [
        UploadLimit(size, f"{path}, line {node.lineno}")
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr in CALLS
        for keyword in node.keywords
        if keyword.arg == "max_bytes" and (size := _value(keyword.value, module)) is not None
    ]


def _value(node: ast.expr, scope: object) -> int | None:
    """Return the value of a constant expression: numbers, names of the module, and products, or None."""
    value: Any = None
    match node:
        case ast.Constant(value=constant):
            value = constant
        case ast.Name(id=name):
            value = getattr(scope, name, None)
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            value = getattr(getattr(scope, name, None), attribute, None)
        case ast.BinOp(left=left, op=ast.Pow(), right=right):
            base, exponent = _value(left, scope), _value(right, scope)
            if base is not None and base <= 1024 and exponent is not None and exponent <= MAX_EXPONENT:
                value = base**exponent
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            first, second = _value(left, scope), _value(right, scope)
            if first is not None and second is not None and (not isinstance(op, ast.LShift) or second < 64):
                value = OPERATORS[type(op)](first, second)
        case _:
            pass
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
