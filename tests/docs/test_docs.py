"""The documentation matches the code: links, commands, exit codes, public names, and the quick start."""

import re
import sys
from collections.abc import Iterator
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import httpx2
import pytest
from typer.main import get_command

from sidelane.cli.main import COMMANDS, build_application
from sidelane.processes.exit_code import Exit
from sidelane.worker.heartbeat import EXIT_STUCK

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_target_exists(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text("utf-8")):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{target} is linked from {page.name}"


def test_every_command_is_described() -> None:
    text = (ROOT / "docs" / "cli.md").read_text("utf-8")
    found = get_command(build_application(COMMANDS))
    groups = "|".join(name for name, inner in getattr(found, "commands", {}).items() if hasattr(inner, "commands"))
    described = set(re.findall(rf"^\| `sidelane ((?:{groups}) [a-z]+|[a-z-]+)", text, re.MULTILINE))
    assert described == set(commands(found))


def test_every_exit_code_is_described() -> None:
    text = (ROOT / "docs" / "cli.md").read_text("utf-8")
    assert {int(code) for code in re.findall(r"^\| `(\d+)` \|", text, re.MULTILINE)} == {*Exit, EXIT_STUCK}


def test_site_has_every_page() -> None:
    listed = set(re.findall(r"^ +- ([\w/.-]+\.md)$", (ROOT / "mkdocs.yml").read_text("utf-8"), re.MULTILINE))
    assert listed == {str(page.relative_to(ROOT / "docs")) for page in ROOT.glob("docs/**/*.md")}


def test_every_decision_is_numbered_once() -> None:
    numbers = [page.name[:4] for page in sorted(ROOT.glob("docs/decisions/[0-9]*.md"))]
    assert numbers == [f"{number:04}" for number in range(1, len(numbers) + 1)]


async def test_quick_start_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIDELANE_STORE", f"sqlite:///{tmp_path / 'jobs.db'}")
    hello = module_of((ROOT / "docs" / "quickstart.md").read_text("utf-8"), tmp_path, monkeypatch)
    async with hello.lane.open(workers=1):
        transport = httpx2.ASGITransport(app=hello.app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://test") as client:
            accepted = await client.post("/count/2")
            assert accepted.status_code == 202
            waited = await client.post("/count/2", headers={"Prefer": "wait=10"})
            assert (waited.status_code, waited.json()) == (200, "1 2 ")


def commands(command: Any, path: str = "") -> Iterator[str]:
    """Yield every command that is not hidden, with its group."""
    for name, inner in getattr(command, "commands", {}).items():
        if not inner.hidden:
            yield from commands(inner, f"{path}{name} ")
    if not hasattr(command, "commands"):
        yield path.strip()


def module_of(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a module made of a page's Python."""
    file = folder / "hello.py"
    file.write_text("\n".join(re.findall(r"```python\n(.*?)```", page, re.DOTALL)), "utf-8")
    spec = util.spec_from_file_location("hello", file)
    assert spec is not None
    assert spec.loader is not None
    module = util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "hello", module)
    spec.loader.exec_module(module)
    return module
