"""YAML as text: quoted scalars and one-line lists. Templates keep their comments, which a dump of values would lose."""

import json
import re
from collections.abc import Iterable

_UNPRINTABLE = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff]")
_PLAIN = re.compile(r"[A-Za-z_./-][A-Za-z0-9_./-]*")
_RESERVED = frozenset(
    {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "none", "~", ".inf", ".nan", "-", "--", "---", "."}
)


def scalar(text: str) -> str:
    """Return a text as a YAML scalar, with quotes unless it can only be a text."""
    if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED and not text.startswith(("-", ".")):
        return text
    # every JSON text is a YAML text, except for these characters
    return _UNPRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(text, ensure_ascii=False))


def flow(texts: Iterable[str]) -> str:
    """Return texts as a YAML list on one line."""
    return f"[{', '.join(map(scalar, texts))}]"


def comment(text: str) -> str:
    """Return a text that cannot end the comment it is in."""
    return re.sub(r"[\0-\x1f\x7f-\x9f\u2028\u2029]", "?", text)
