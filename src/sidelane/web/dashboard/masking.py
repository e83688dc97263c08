"""Masking: inputs and results without the fields that an application hides."""

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

Mask = Callable[[Sequence[str]], bool]
"""Returns whether the value at a path of names is hidden."""

_NAME: Final = re.compile(r'"([^"\\]{1,200})"\s*:')

HIDDEN: Final = "\N{BULLET}" * 6
"""What pages show for a hidden value."""


def masked(value: Any, mask: Mask, path: tuple[str, ...] = ()) -> Any:
    """Return a JSON value whose hidden fields are `HIDDEN`. The items of a list have the path of the list.

    A text that is a JSON object or list, e.g. the body of a message, has hidden fields too.
    """
    if isinstance(value, dict):
        return {
            name: HIDDEN if mask((*path, name)) else masked(part, mask, (*path, name)) for name, part in value.items()
        }
    if isinstance(value, list):
        return [masked(part, mask, path) for part in value]
    return _masked_text(value, mask, path) if isinstance(value, str) and value.lstrip()[:1] in ("{", "[") else value


def _masked_text(text: str, mask: Mask, path: tuple[str, ...]) -> str:
    """Return a text that may be JSON, without its hidden fields. Text without any is unchanged.

    Text is hidden as a whole if it has the name of a hidden field that parsing does not find: it cannot be parsed, or a later field
    of the same name has replaced what contains the field.
    """
    try:
        value = json.loads(text)
        redacted = masked(value, mask, path)
        if redacted != value:
            return json.dumps(redacted, ensure_ascii=False)
    except (ValueError, RecursionError):
        pass
    return HIDDEN if any(mask((*path, name)) for name in _NAME.findall(text)) else text


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
    if isinstance(value, str) and isinstance(original, str) and HIDDEN in value:
        return _restored_text(value, original, mask, path)
    return value


def _restored_text(text: str, original: str, mask: Mask, path: tuple[str, ...]) -> str:
    """Return a text that may be JSON, with the original values of its hidden fields."""
    if text == _masked_text(original, mask, path):
        return original
    try:
        value, before = json.loads(text), json.loads(original)
        restored = _restored(value, before, mask, path)
    except (ValueError, RecursionError):
        return text
    return text if restored == value else json.dumps(restored, ensure_ascii=False)
