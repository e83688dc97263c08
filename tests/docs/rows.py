"""Table of scenarios: writes the tests that are marked with a row, e.g. `@pytest.mark.row("R14")`, into docs/scenarios.md.

python tests/docs/rows.py            write the page
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "scenarios.md"
NO_TESTS = "to come"


def marked_tests() -> dict[str, list[str]]:
    """Return the names of the marked tests by row, e.g. `tests/web/test_streaming.py::test_…`."""
    found: dict[str, list[str]] = defaultdict(list)
    for file in sorted(ROOT.glob("tests/**/test_*.py")):
        tree = ast.parse(file.read_text("utf-8"))
        for name, rows in _marks(tree, ()):
            for row in rows:
                found[row].append(f"{file.relative_to(ROOT)}{name}")
    return found


def page(text: str) -> str:
    """Return the page with its last column made anew."""
    tests = marked_tests()

    def cell(match: re.Match[str]) -> str:
        names = "<br>".join(f"`{name}`" for name in tests.pop(match[1], [])) or NO_TESTS
        return f"| {match[1]} | {match[2]} | {names} |"

    written = re.sub(r"^\| (R\d+) \| (.*) \| (?:`.*`|to come) \|$", cell, text, flags=re.MULTILINE)
    if tests:
        raise ValueError(f"marked tests of rows that {PAGE.name} does not have: {dict(tests)}")
    return written


def _marks(
    node: ast.Module | ast.ClassDef, inherited: tuple[str, ...], name: str = ""
) -> Iterator[tuple[str, list[str]]]:
    for inner in node.body:
        if isinstance(inner, ast.Assign) and "pytestmark" in map(ast.unparse, inner.targets):
            inherited += tuple(_rows(inner.value))
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            rows = (*inherited, *(row for decorator in inner.decorator_list for row in _rows(decorator)))
            if isinstance(inner, ast.ClassDef):
                yield from _marks(inner, rows, f"{name}::{inner.name}")
            elif inner.name.startswith("test_") and rows:
                yield f"{name}::{inner.name}", list(dict.fromkeys(rows))


def _rows(expression: ast.expr) -> list[str]:
    return re.findall(r"mark\.row\(['\"](R\d+)['\"]", ast.unparse(expression))


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text("utf-8")), "utf-8")
