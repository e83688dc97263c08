"""Generated parts of the documentation: tests of scenarios, settings, keys of a service's description, metrics, machines, names of
the API reference, decisions.

python tests/docs/generate.py       write docs/scenarios.md, settings.md, running.md, metrics.md, sizing.md, api.md,
                                    docs/decisions/README.md and mkdocs.yml
"""

import ast
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path

from typer.testing import CliRunner

import sidelane
from sidelane.cli.main import command_line
from sidelane.exporters import process_metrics, store_metrics
from sidelane.model.settings import Settings
from sidelane.model.sizes import BYTES
from sidelane.ops.groups import ApiGroup, CommandGroup, Group, Readiness, Service, Table, WorkerGroup
from sidelane.sizing.machines import CHECKED, MACHINES, Machine

ROOT = Path(__file__).parents[2]
SCENARIOS = ROOT / "docs" / "scenarios.md"
API = ROOT / "docs" / "api.md"
METRICS = ROOT / "docs" / "metrics.md"
RUNNING = ROOT / "docs" / "running.md"
SIZING = ROOT / "docs" / "sizing.md"
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


def running(text: str) -> str:
    """Return the page about running a service with the tables of keys made anew."""
    tables: dict[str, tuple[type[Table], frozenset[str]]] = {
        "The service": (Service, frozenset({"api", "worker", "command"})),
        "Every group": (Group, frozenset()),
        "API groups": (ApiGroup, frozenset(Group.model_fields)),
        "Worker groups": (WorkerGroup, frozenset(Group.model_fields)),
        "Commands": (CommandGroup, frozenset(Group.model_fields)),
        "Readiness": (Readiness, frozenset()),
    }
    for title, (model, elsewhere) in tables.items():
        rows = "".join(
            f"| `{name}` | {_default(field.default)} | {(field.description or '').replace('|', chr(92) + '|')} |\n"
            for name, field in model.model_fields.items()
            if name not in elsewhere
        )
        before, heading, section = text.partition(f"### {title}\n")
        introduction, line, rest = section.partition("|---|---|---|\n")
        after = re.sub(r"\A(\|.*\n)*", "", rest)
        text = f"{before}{heading}{introduction}{line}{rows}{after}"
    return text


def metrics(text: str) -> str:
    """Return the page of metrics with its tables made anew."""
    tables = {"Metrics of the store": store_metrics.METRICS, "Metrics of a process": process_metrics.METRICS}
    for title, table in tables.items():
        rows = "".join(
            f"| `{each.name}` | {each.kind} | {', '.join(each.labels)} | {each.help.removesuffix('.')} |\n"
            for each in table
        )
        before, heading, section = text.partition(f"### {title}\n")
        introduction, line, rest = section.partition("|---|---|---|---|\n")
        after = re.sub(r"\A(\|.*\n)*", "", rest)
        text = f"{before}{heading}{introduction}{line}{rows}{after}"
    return text


def sizing(text: str) -> str:
    """Return the page about sizing with the output of its plans and its table of machines, one line for those that are alike."""
    text = re.sub(r"(?<=\$ sidelane )(advise --plan .*)\n[^`]*", lambda found: f"{found[1]}\n{_output(found[1])}", text)
    alike: dict[tuple[float, int, float], list[Machine]] = defaultdict(list)
    for machine in MACHINES.values():
        alike[machine.cores, machine.memory, machine.baseline].append(machine)
    rows = "".join(
        f"| {', '.join(each.name for each in machines)} | {cores:g} | {memory / BYTES['GIB']:g} GiB | "
        f"{f'{baseline:.0%}'.replace('%', ' %') if baseline < 1 else ''} | {machines[0].usable_cores:g} |\n"
        for (cores, memory, baseline), machines in alike.items()
    )
    before, line, _ = text.partition("|---|--:|--:|--:|--:|\n")
    source = (
        f"The table was checked in {CHECKED}: t and m families and baselines against AWS's pages about general purpose and "
        "burstable instances,\nc families against lists that others publish.\n"
    )
    return f"{before}{line}{rows}\n{source}"


def _output(command: str) -> str:
    """Return what a command prints on a terminal of 80 columns."""
    arguments = command.split()
    return CliRunner().invoke(command_line(arguments), arguments, env={"COLUMNS": "80"}, catch_exceptions=False).stdout


def _default(value: object) -> str:
    """Return a default as TOML, or nothing if there is none to write."""
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case float():
            return f"`{value:g}`"
        case str() | int():
            return f"`{value}`"
        case _:
            return ""


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
    RUNNING: running,
    METRICS: metrics,
    SIZING: sizing,
    API: api,
    DECISIONS: decisions,
    NAV: nav,
}
"""What makes the generated part of each file."""

if __name__ == "__main__":
    for path, write in PARTS.items():
        path.write_text(write(path.read_text("utf-8")), "utf-8")
