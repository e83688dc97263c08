"""JSON text that is stored or sent: readable in every script, and always encodable as UTF-8."""

import json


def is_storable(text: str) -> bool:
    """Return whether a text can be encoded as UTF-8, which half a surrogate pair cannot."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def escape_surrogates(text: str) -> str:
    """Escape what cannot be encoded as UTF-8 as `\\uXXXX`, which means the same in JSON text."""
    return text if is_storable(text) else text.encode(errors="backslashreplace").decode()


def dump_json(value: object) -> str:
    """Return a value as compact JSON that stays readable in every script. Only lone surrogates are escaped."""
    return escape_surrogates(json.dumps(value, ensure_ascii=False, separators=(",", ":")))
