"""Translations: every text of a page exists in Korean, with the same values."""

import ast
import json
import string
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from jinja2 import nodes

import sidelane
from sidelane.model.job import State
from sidelane.web.dashboard.operators import Role
from sidelane.web.dashboard.rendering import ENVIRONMENT, LANGUAGES
from sidelane.web.dashboard.site import NAVIGATION

SOURCE = Path(sidelane.__file__).parent
DASHBOARD = SOURCE / "web" / "dashboard"

NAMES_OF_TEXTS = {"sentence": 0, "translate": 1, "Line": 0}
"""Functions that take a text, with the position of the text."""


def texts_of_templates() -> Iterator[str]:
    for path in sorted((DASHBOARD / "templates").glob("*.html")):
        for call in ENVIRONMENT.parse(path.read_text("utf-8")).find_all(nodes.Call):
            if isinstance(call.node, nodes.Name) and call.node.name == "_":
                yield from _constants(call.args[0])


def _constants(text: nodes.Expr) -> Iterator[str]:
    """Yield the texts that an expression may be, e.g. both of `"a" if one else "b"`."""
    if isinstance(text, nodes.Const):
        yield text.value
    elif isinstance(text, nodes.CondExpr):
        yield from _constants(text.expr1)
        if text.expr2 is not None:
            yield from _constants(text.expr2)


def texts_of_modules() -> Iterator[str]:
    for path in sorted([*(SOURCE / "admin").rglob("*.py"), *DASHBOARD.rglob("*.py")]):
        for call in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(call, ast.Call):
                yield from _texts_of_call(call)


def _texts_of_call(call: ast.Call) -> Iterator[str]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    place = NAMES_OF_TEXTS.get(name)
    found: list[ast.expr] = [] if place is None else call.args[place : place + 1]
    if name == "TimeChart":
        found = [each.value for each in call.keywords if each.arg == "title"]
    for text in found:
        choices = [text.body, text.orelse] if isinstance(text, ast.IfExp) else [text]
        for each in choices:
            if isinstance(each, ast.Constant) and isinstance(each.value, str):
                yield each.value


def texts() -> set[str]:
    known: Iterable[str] = [*State, *Role, *(text for _, _, text in NAVIGATION)]
    return {*texts_of_templates(), *texts_of_modules(), *map(str, known)}


def translations(language: str) -> dict[str, str]:
    found: dict[str, str] = json.loads((DASHBOARD / "translations" / f"{language}.json").read_text("utf-8"))
    return found


def values_of(text: str) -> set[str]:
    return {name.partition(".")[0] for _, name, _, _ in string.Formatter().parse(text) if name}


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_every_text_of_a_page_is_translated(language: str) -> None:
    assert sorted(texts() - translations(language).keys()) == []


@pytest.mark.parametrize("language", LANGUAGES[1:])
def test_translation_uses_only_values_that_its_text_has(language: str) -> None:
    wrong = {text for text, said in translations(language).items() if not values_of(said) <= values_of(text)}
    assert wrong == set()
