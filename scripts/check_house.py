"""House rules that no linter knows: sizes, words of names that were retired, and how docstrings are written.

Run by `make check`. Prints each fault as `path:line: what to do` and exits with status 1 if there is any.
"""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
PRODUCT = ROOT / "src"

MAX_FILE, MAX_CLASS, MAX_FUNCTION, MAX_PARAMETERS = 450, 300, 60, 10
MAX_WORDS = 25

BANNED_VERBS = frozenset({"Give", "Gives", "Say", "Says", "Tell", "Tells", "Hear", "Hears"})
"""Docstrings say Return, Raise, Wait, Send, or the imperative of what the function does."""

RETIRED = {
    "ask": "request, query", "asked": "requested", "attendant": "background service", "beat": "heartbeat",
    "bond": "applied limit", "bonds": "applied limits", "buried": "dead letter", "bury": "dead letter",
    "desk": "views", "door": "entry point", "errand": "request", "faults": "errors", "given": "arguments",
    "goodbye": "final message", "hear": "receive", "heard": "received", "holding": "references", "hook": "callback",
    "meant": "matching", "mine": "own", "ours": "the name of what it is", "outside": "external",
    "parked": "blocked", "patience": "timeout", "piece": "chunk", "pieces": "chunks", "place": "index, location",
    "quiet": "idle", "racer": "worker process", "room": "capacity, space", "said": "detail, message",
    "serving": "running", "settle": "flush, acknowledge, resolve", "settled": "finished", "shelf": "store",
    "shown": "redacted", "suspect": "isolated", "taking": "receiving", "theirs": "the name of what it is",
    "told": "notified", "trouble": "error", "turn": "share", "turns": "shares", "voice": "channel",
    "words": "text, reason",
}  # fmt: skip
"""Words that names had before, with what to write instead: metaphors, and words with more than one meaning."""

Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef


def faults_of(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each fault in one file."""
    text = path.read_text(encoding="utf-8")
    lines = text.count("\n")
    if lines > MAX_FILE:
        yield 1, f"the file has {lines} lines; at most {MAX_FILE}"
    tree = ast.parse(text)
    yield from docstring_faults(tree, 1)
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and length(node) > MAX_CLASS:
            yield node.lineno, f"class {node.name} has {length(node)} lines; at most {MAX_CLASS}"
        elif isinstance(node, Function):
            if length(node) > MAX_FUNCTION:
                yield node.lineno, f"{node.name} has {length(node)} lines; at most {MAX_FUNCTION}"
            if parameters(node) > MAX_PARAMETERS:
                yield node.lineno, f"{node.name} takes {parameters(node)} parameters; at most {MAX_PARAMETERS}"
        if isinstance(node, Documented):
            yield from docstring_faults(node, node.lineno)
        for word in words_of(node) & RETIRED.keys():
            yield node.lineno, f"{word!r} is a retired word in names; write {RETIRED[word]}"


def docstring_faults(node: ast.Module | Documented, line: int) -> Iterator[tuple[int, str]]:
    docstring = ast.get_docstring(node)
    if docstring is None:
        return
    first = re.match(r"\w+", docstring)
    if first is not None and first[0] in BANNED_VERBS:
        yield line, f"the docstring begins with {first[0]}: say Return, Raise, Wait, Send or what it does"
    for sentence in sentences(docstring):
        if len(sentence.split()) > MAX_WORDS:
            yield (
                line,
                f"a sentence of {len(sentence.split())} words in the docstring; at most {MAX_WORDS}: {sentence[:60]}",
            )


def words_of(node: ast.AST) -> set[str]:
    """Return the words of the name that a node declares; tests may use any."""
    match node:
        case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name) | ast.arg(arg=name):
            pass
        case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
            pass
        case _:
            return set()
    if name.startswith("test_"):
        return set()
    return {word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def sentences(docstring: str) -> Iterator[str]:
    """Yield the sentences of a docstring's paragraphs; tables, trees, examples and lists are left out."""
    for paragraph in re.split(r"\n\s*\n", docstring):
        if not re.match(r"\s*([|*#`>-]|\d+\.|    |\w+\n[├└])", paragraph):
            yield from re.split(r"(?<=[.:;!?])\s+(?=[A-Z`])|(?<=:)\s+", " ".join(paragraph.split()))


def length(node: ast.ClassDef | Function) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def parameters(node: Function) -> int:
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return len([each for each in named if each.arg not in ("self", "cls")])


def main() -> int:
    """Check the product, and return the exit status."""
    found = 0
    for path in sorted(PRODUCT.rglob("*.py")):
        for line, what in faults_of(path):
            print(f"{path.relative_to(ROOT)}:{line}: {what}")
            found += 1
    if found:
        print(f"{found} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
