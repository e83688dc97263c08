"""Assembles the Lua scripts: each verb's file after the shared files that its header names.

Names in capitals that stand for integers, store problems or constants of history are replaced by their values. Lua has no
constants, and it allows 200 locals per script and 60 upvalues per function. So a line "Exports" in the header of a shared file
names what other files see. The file itself may use these names before it defines them.
"""

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

from sidelane.model import history
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.transition import MAX_TRANSITIONS
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
    values = {**constants(text), **_problems(), **_history_constants()}
    return _TOKENS.sub(lambda token: values.get(token[0], token[0]), _CONSTANTS.sub("", text))


def _header(body: str, name: str) -> list[str]:
    """Return the names that a header line lists."""
    found = re.search(rf"^-- {name}: (.+)$", body, re.MULTILINE)
    return found[1].split(", ") if found else []


def _shared(name: str) -> str:
    text = (_HERE / "shared" / f"{name}.lua").read_text(encoding="utf-8")
    exports = _header(text, "Exports")
    if not exports:
        return text
    body = re.sub(rf"^local (?=(?:function )?(?:{'|'.join(exports)})\b)", "", text, flags=re.MULTILINE)
    return f"local {', '.join(exports)}\ndo\n{body}end\n"


@cache
def _history_constants() -> dict[str, str]:
    """Return the constants of history and transitions as Lua values."""
    numbers = {
        "HISTORY_MINUTE": history.MINUTE,
        "HISTORY_TEN_MINUTES": history.TEN_MINUTES,
        "HISTORY_HOUR": history.HOUR,
        "HISTORY_MINUTE_RETENTION": history.STEPS[history.MINUTE],
        "HISTORY_HOUR_RETENTION": history.STEPS[history.HOUR],
        "HISTORY_MAX_SERIES": history.MAX_SERIES,
        "HISTORY_TOP_USERS": history.TOP_USERS,
        "MAX_TRANSITIONS": MAX_TRANSITIONS,
        **{f"COUNT_{count.name}": count.value for count in history.Count},
    }
    bounds = ", ".join(map(repr, history.BUCKETS))
    return {
        **{name: str(number) for name, number in numbers.items()},
        "HISTORY_BUCKETS": f"{{ {bounds} }}",
        "HISTORY_OTHER": f"'{history.OTHER}'",
        "INTERNAL_PREFIX": f"'{INTERNAL_PREFIX}'",
    }


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
