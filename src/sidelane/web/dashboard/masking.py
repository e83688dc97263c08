"""Masking: inputs and results without the fields that an application hides."""

import json
from collections.abc import Callable, Sequence
from typing import Any, Final

Mask = Callable[[Sequence[str]], bool]
"""Returns whether the value at a path of names is hidden."""

HIDDEN: Final = "\N{BULLET}" * 6
"""What pages show for a hidden value."""


def masked(value: Any, mask: Mask, path: tuple[str, ...] = ()) -> Any:
    """Return a JSON value whose hidden fields are `HIDDEN`. The items of a list have the path of the list."""
    if isinstance(value, dict):
        return {
            name: HIDDEN if mask((*path, name)) else masked(part, mask, (*path, name)) for name, part in value.items()
        }
    return [masked(part, mask, path) for part in value] if isinstance(value, list) else value


def unmasked(text: str, original: str, mask: Mask) -> str:
    """Return JSON text that a person edited, with the original values of hidden fields that were left as they are."""
    return json.dumps(_restored(json.loads(text), json.loads(original), mask, ()), ensure_ascii=False)


def _restored(value: Any, original: Any, mask: Mask, path: tuple[str, ...]) -> Any:
    if isinstance(value, dict) and isinstance(original, dict):
        restored = {}
        for name, part in value.items():
            inside = (*path, name)
            kept = part == HIDDEN and name in original and mask(inside)
            restored[name] = original[name] if kept else _restored(part, original.get(name), mask, inside)
        return restored
    if isinstance(value, list) and isinstance(original, list) and len(value) == len(original):
        return [_restored(part, before, mask, path) for part, before in zip(value, original, strict=True)]
    return value
