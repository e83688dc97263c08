"""Generated parts of the documentation: tests of scenarios, settings, names of the API reference, decisions.

python tests/docs/generate.py            write docs/scenarios.md, settings.md, api.md, decisions/README.md and mkdocs.yml
"""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

import sidelane
from sidelane.model.settings import Settings

ROOT = Path(__file__).parents[2]
SCENARIOS = ROOT / "docs" / "scenarios.md"
API = ROOT / "docs" / "api.md"
SETTINGS = ROOT / "docs" / "settings.md"
DECISIONS = ROOT / "docs" / "decisions" / "README.md"
NAV = ROOT / "mkdocs.yml"
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


def scenarios(text: str) -> str:
    """Return the page of scenarios with its last column made anew."""
    tests = marked_tests()

    def cell(match: re.Match[str]) -> str:
        names = "<br>".join(f"`{name}`" for name in tests.pop(match[1], [])) or NO_TESTS
        return f"| {match[1]} | {match[2]} | {names} |"

    written = re.sub(r"^\| (R\d+) \| (.*) \| (?:`.*`|to come) \|$", cell, text, flags=re.MULTILINE)
    if tests:
        raise ValueError(f"marked tests of rows that {SCENARIOS.name} does not have: {dict(tests)}")
    return written


def settings(text: str) -> str:
    """Return the page of settings with its table made anew."""
    rows = [
        f"| `SIDELANE_{name.upper()}` | `{field.default}` | {field.description} |\n"
        for name, field in Settings.model_fields.items()
    ]
    before, _, rest = text.partition("|---|---|---|\n")
    after = re.sub(r"\A(\| `SIDELANE_\w+` \| .*\n)*", "", rest)
    return f"{before}|---|---|---|\n{''.join(rows)}{after}"


def api(text: str) -> str:
    """Return the API reference without names that are gone, and with new ones among the errors."""
    public = set(sidelane.__all__) - {"__version__"}
    lines = [
        line
        for line in text.splitlines()
        if not (match := re.fullmatch(r"::: sidelane\.(\w+)", line)) or match[1] in public
    ]
    missing = sorted(f"::: sidelane.{name}" for name in public if f"::: sidelane.{name}" not in lines)
    errors = lines.index("::: sidelane.ArgumentsError")
    return "\n".join([*lines[:errors], *missing, *lines[errors:]]) + "\n"


def decisions(text: str) -> str:
    """Return the list of decisions made anew."""
    titles = {page.name: page.read_text("utf-8").partition("\n")[0].removeprefix("# ") for page in _decision_pages()}
    before = text.partition("\n- [")[0].rstrip("\n")
    return f"{before}\n\n" + "".join(f"- [{title}]({name})\n" for name, title in titles.items())


def nav(text: str) -> str:
    """Return the site's navigation with every decision."""
    begin = "          - decisions/README.md\n"
    return text.partition(begin)[0] + begin + "".join(f"          - decisions/{p.name}\n" for p in _decision_pages())


def _decision_pages() -> list[Path]:
    return sorted(DECISIONS.parent.glob("[0-9]*.md"))


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


PARTS: dict[Path, Callable[[str], str]] = {
    SCENARIOS: scenarios,
    SETTINGS: settings,
    API: api,
    DECISIONS: decisions,
    NAV: nav,
}
"""What makes the generated part of each file."""

if __name__ == "__main__":
    for path, write in PARTS.items():
        path.write_text(write(path.read_text("utf-8")), "utf-8")
