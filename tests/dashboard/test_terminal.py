"""The same in the terminal: each page and action has commands, and each action of a command is in the table."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute
from typer.main import get_command

import sidelane
from sidelane.cli.main import COMMANDS, build_application
from sidelane.web.dashboard import dashboard
from sidelane.web.dashboard.site import NAVIGATION
from tests.dashboard.shop import current_operator, make_shop

PAGE = (Path(__file__).parents[2] / "docs" / "dashboard.md").read_text("utf-8")
SECTION = PAGE.partition("## The same in the terminal")[2].partition("\n## ")[0]
ROWS = {row[1].strip("`"): row[2] for row in re.finditer(r"^\| ([^|]+) \| ([^|]+) \|$", SECTION, re.MULTILINE)}

ACTION = re.compile(r"[a-z]+\.[a-z_]+")

OF_THE_MACHINE = {"store.vacuum", "file.tidy"}
"""Actions of commands that no page has."""


def actions_of_commands() -> Iterator[str]:
    """Yield the names of actions in the modules of commands, which are constants."""
    for path in (Path(sidelane.__file__).parent / "cli").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.Call):
                function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
                if function in ("change", "change_jobs", "keep_line"):
                    yield from (
                        each.value
                        for each in node.args
                        if isinstance(each, ast.Constant) and isinstance(each.value, str)
                    )


@pytest.mark.parametrize("title", [title for _, _, title in NAVIGATION])
def test_each_page_has_commands(title: str) -> None:
    assert "`sidelane " in ROWS[title]


def test_each_action_of_a_page_has_a_command(tmp_path: Path) -> None:
    router = dashboard(make_shop(tmp_path).lane, operator=current_operator)
    actions = {each.name for each in router.routes if isinstance(each, APIRoute) and ACTION.fullmatch(each.name)}
    assert {"queue.pause", "message.requeue", "schedule.forget"} <= actions
    assert actions - ROWS.keys() == set()


def test_each_action_of_a_command_is_in_the_table() -> None:
    found = set(actions_of_commands())
    assert {"job.cancel", "message.purge"} <= found
    assert found - ROWS.keys() == OF_THE_MACHINE


@pytest.mark.parametrize("command", sorted(set(re.findall(r"`sidelane ([^`]+)`", SECTION))))
def test_command_of_the_table_exists(command: str) -> None:
    found = get_command(build_application(COMMANDS))
    words = command.split()
    while words and not words[0].startswith("--"):
        subcommands = getattr(found, "commands", {})
        assert words[0] in subcommands, f"sidelane {command}"
        found = subcommands[words.pop(0)]
    found = getattr(found, "commands", {}).get("list", found)
    options = {option for parameter in found.params for option in parameter.opts}
    assert set(words) <= options, f"sidelane {command}"
