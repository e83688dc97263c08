"""The scripts: each verb's file with the shared ones its header asks for, put together when the store is first opened.

Names in capitals that stand for whole numbers or for problems that stores find are replaced by these: Lua has no constants, and
lets a script have no more than 200 names of its own and a function no more than 60 of those around it.
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
_WORDS = re.compile(r"'[^'\n]*'|--.*|\b[A-Z_]+\b")


class Script(NamedTuple):
    """One script: its text, and the digest the server knows it by."""

    verb: str
    text: str
    digest: str


@cache
def script(verb: str) -> Script:
    """Put the script of a verb together."""
    body = (_HERE / "verbs" / f"{verb}.lua").read_text(encoding="utf-8")
    shared = "\n".join(_shared(name) for name in _asked(body, "Shared"))
    flags = ",".join(_asked(body, "Flags"))
    head = f"#!lua flags={flags}" if flags else "#!lua"
    rest = f"{shared}\n{body}"
    text = f"{head}\n{_with_constants(rest)}"
    return Script(verb, text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


def constants(text: str) -> dict[str, str]:
    """List the names that stand for whole numbers, with these."""
    found: dict[str, str] = {}
    for names, numbers in _CONSTANTS.findall(text):
        found |= zip(names.split(", "), numbers.split(", "), strict=True)
    return found


def _with_constants(text: str) -> str:
    """Write numbers and problems for the names that stand for them, though not in texts and comments."""
    values = {**constants(text), **_problems()}
    return _WORDS.sub(lambda word: values.get(word[0], word[0]), _CONSTANTS.sub("", text))


def _asked(body: str, what: str) -> list[str]:
    """Read a line of the header that lists names."""
    found = re.search(rf"^-- {what}: (.+)$", body, re.MULTILINE)
    return found[1].split(", ") if found else []


def _shared(name: str) -> str:
    return (_HERE / "shared" / f"{name}.lua").read_text(encoding="utf-8")


@cache
def _problems() -> dict[str, str]:
    """Write the problems that stores find as texts of Lua, and what the history keeps of losses."""
    texts = {
        name: dump_problem(getattr(problems, name))
        for name in ("NOT_STARTED_IN_TIME", "DEADLINE_PASSED", "WORKER_LOST", "WORKERS_LOST", "NOT_ANSWERED")
    }
    texts["LOSS"] = dumps([texts["WORKER_LOST"], "", ""])
    texts["LOSS_OUTSIDE"] = dumps([texts["NOT_ANSWERED"], "", ""])
    return {name: f"[==[{text}]==]" for name, text in texts.items()}
