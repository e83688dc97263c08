"""Assembles the Lua scripts: each verb's file after the shared files that its header names.

Names in capitals that stand for integers or store problems are replaced by their values. Lua has no constants, and it allows
200 locals per script and 60 upvalues per function.
"""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sidelane.stores import problems
from sidelane.stores.serialization import dump_problem, dumps

_HERE = Path(__file__).parent

_CONSTANTS = re.compile(r"^local ([A-Z_]+(?:, [A-Z_]+)*) = (\d+(?:, \d+)*)(?: --.*)?$", re.MULTILINE)
_TOKENS = re.compile(r"'[^'\n]*'|--.*|\b[A-Z_]+\b")


class Script(NamedTuple):
    """One script, with its text and its SHA-1 digest, by which the server runs it."""

    verb: str
    text: str
    digest: str


@cache
def script(verb: str) -> Script:
    """Return the assembled script of a verb."""
    body = (_HERE / "verbs" / f"{verb}.lua").read_text(encoding="utf-8")
    shared = "\n".join(_shared(name) for name in _header(body, "Shared"))
    flags = ",".join(_header(body, "Flags"))
    head = f"#!lua flags={flags}" if flags else "#!lua"
    rest = f"{shared}\n{body}"
    text = f"{head}\n{_with_constants(rest)}"
    return Script(verb, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def constants(text: str) -> dict[str, str]:
    """Return the integer constants of a script by name."""
    found: dict[str, str] = {}
    for names, numbers in _CONSTANTS.findall(text):
        found |= zip(names.split(", "), numbers.split(", "), strict=True)
    return found


def _with_constants(text: str) -> str:
    """Replace the names of constants and problems by their values, except in strings and comments."""
    values = {**constants(text), **_problems()}
    return _TOKENS.sub(lambda token: values.get(token[0], token[0]), _CONSTANTS.sub("", text))


def _header(body: str, name: str) -> list[str]:
    """Return the names that a header line lists."""
    found = re.search(rf"^-- {name}: (.+)$", body, re.MULTILINE)
    return found[1].split(", ") if found else []


def _shared(name: str) -> str:
    return (_HERE / "shared" / f"{name}.lua").read_text(encoding="utf-8")


@cache
def _problems() -> dict[str, str]:
    """Return the store problems as Lua strings, and the history entries of lost leases."""
    texts = {
        name: dump_problem(getattr(problems, name))
        for name in ("NOT_STARTED_IN_TIME", "DEADLINE_PASSED", "WORKER_LOST", "WORKERS_LOST", "NOT_ANSWERED")
    }
    texts["WORKER_LOSS"] = dumps([texts["WORKER_LOST"], "", ""])
    texts["EXTERNAL_LOSS"] = dumps([texts["NOT_ANSWERED"], "", ""])
    return {name: f"[==[{text}]==]" for name, text in texts.items()}
