"""Files of environment variables, as the key `env_file` of a service's description names them."""

import re
from pathlib import Path

from sidelane.model.errors import ConfigurationError

_LINE = re.compile(r"(?:export\s+)?(?P<name>[A-Za-z_][A-Za-z0-9_]*)\s*=\s*(?P<value>.*)", re.DOTALL)
_VALUE = re.compile(
    r"""(?:"(?P<double>(?:[^"\\]|\\.)*)"|'(?P<single>[^']*)'|(?P<bare>(?:[^\s"'\#]|(?<=\S)["'\#]|\s+(?=[^\s\#]))*))\s*(?:\#.*)?"""
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


def read_env_file(file: Path) -> dict[str, str]:
    r"""Read `NAME=value` lines, and return the values by name. Raises `ConfigurationError` with the line of an error.

    A line may begin with `export`. A `#` after white space begins a comment. Text in single quotes is taken as it is. In double
    quotes, `\n`, `\t`, `\r`, `\"` and `\\` are replaced. A value has one line, and no variable in it is replaced.
    """
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}.") from error
    values = {}
    for number, line in enumerate(text.split("\n"), 1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        found = _LINE.fullmatch(stripped)
        value = _VALUE.fullmatch(found["value"]) if found else None
        if found is None or value is None or "\0" in stripped:  # the line itself may be a secret
            raise ConfigurationError(
                f"{file}, line {number}, is not valid: write NAME=value, with quotes around a value that has quotes or # in it."
            )
        values[found["name"]] = _text(value)
    return values


def _text(value: re.Match[str]) -> str:
    if value["double"] is not None:
        return re.sub(r"\\(.)", lambda escape: _ESCAPES.get(escape[1], escape[1]), value["double"])
    return value["bare"] if value["single"] is None else value["single"]
