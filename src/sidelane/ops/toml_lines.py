"""Line numbers of keys in a TOML text, which `tomllib` does not return."""

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sidelane.model.errors import ConfigurationError

Keys = tuple[str, ...]
"""The path of a table or key, e.g. ("tool", "sidelane")."""

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_KEY = rf"{_PART}(?:[ \t]*\.[ \t]*{_PART})*"
_STATEMENT = re.compile(rf"[ \t]*(?:\[(?P<array>\[)?[ \t]*(?P<table>{_KEY})|(?P<key>{_KEY})[ \t]*=|)")
_TOKEN = re.compile(
    r'''"""(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'''  # up to two quotes before the closing ones belong to the text
    r"""|'''(?:[^']|'{1,2}(?!'))*'{3,5}"""
    r"""|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'|\#[^\n]*|[^]["'\#{}\n]+|.""",
    re.DOTALL,
)


def read_toml(file: Path) -> tuple[dict[str, Any], str]:
    """Read a file, and return its document and its text. Raises `ConfigurationError` with the line of an error."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{file} cannot be read: {error}.") from error
    try:
        return tomllib.loads(text), text
    except tomllib.TOMLDecodeError as error:
        what, _, where = str(error).partition(" (at ")
        found = re.match(r"line (\d+)", where)
        line = int(found[1]) if found else text.rstrip("\n").count("\n") + 1
        raise ConfigurationError(f"{file}, line {line}, is not valid TOML: {what}.") from error


def key_lines(text: str) -> Mapping[Keys, int]:
    """Return the line of each table and key of a valid TOML text. Keys inside inline tables are left out.

    A table without its own header has the line on which it is first named. Of an array of tables, the first table counts.
    """
    lines: dict[Keys, int] = {}
    table: Keys = ()
    position, line = 0, 1
    while position < len(text) and (statement := _STATEMENT.match(text, position)) is not None:
        position = statement.end()
        if statement["table"]:
            table = _path(statement["table"])
            _record(lines, table, line, first=bool(statement["array"]))
        elif statement["key"]:
            _record(lines, table + _path(statement["key"]), line, first=True)
        position, line = _end(text, position, line, depth=2 if statement["array"] else bool(statement["table"]))
    return lines


def _record(lines: dict[Keys, int], path: Keys, line: int, *, first: bool) -> None:
    """Record the line of a path, and of the tables around it if they have none yet."""
    if not first:
        lines[path] = line
    for length in range(1, len(path) + 1):
        lines.setdefault(path[:length], line)


def _path(key: str) -> Keys:
    """Return the parts of a dotted key, without quotes and escapes."""
    value: Any = tomllib.loads(f"{key} = 0")
    parts = []
    while isinstance(value, dict):
        ((part, value),) = value.items()
        parts.append(part)
    return tuple(parts)


def _end(text: str, position: int, line: int, depth: int) -> tuple[int, int]:
    """Return the position after a statement that is open in `depth` brackets, and its line."""
    while (token := _TOKEN.match(text, position)) is not None:
        position = token.end()
        line += token[0].count("\n")
        if token[0] in ("[", "{"):
            depth += 1
        elif token[0] in ("]", "}"):
            depth -= 1
        elif token[0] == "\n" and depth == 0:
            break
    return position, line
