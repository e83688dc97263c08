"""Translations: every text of a page exists in Korean, with the same values."""

import ast
import json
import string
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from http import HTTPStatus
from pathlib import Path

import pytest
from jinja2 import nodes

import sidelane
from sidelane.admin.bulk import TooManyJobs
from sidelane.model.errors import UnknownBulkAction
from sidelane.model.job import State
from sidelane.web.dashboard.operators import ForeignRequest, NotAllowed, Role
from sidelane.web.dashboard.pages.users import UnknownAmount
from sidelane.web.dashboard.rendering import ENVIRONMENT, LANGUAGES
from sidelane.web.dashboard.site import NAVIGATION

SOURCE = Path(sidelane.__file__).parent
DASHBOARD = SOURCE / "web" / "dashboard"

PLACES_OF_TEXTS = {"sentence": (0,), "counted": (1, 2), "translate": (1,), "say": (0,), "Line": (0,)}
"""Functions that take texts, with the positions of the texts."""


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
    places = ("admin", "model", "sizing", "web/dashboard")
    for path in sorted(path for place in places for path in (SOURCE / place).rglob("*.py")):
        module = ast.parse(path.read_text("utf-8"))
        assigned: dict[str, list[ast.expr]] = defaultdict(list)
        for node in ast.walk(module):
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                assigned[node.targets[0].id].append(node.value)
        for call in ast.walk(module):
            if isinstance(call, ast.Call):
                for text in _texts_of_call(call):
                    yield from _values_of(text, assigned)


def _texts_of_call(call: ast.Call) -> list[ast.expr]:
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    if name == "TimeChart":
        return [each.value for each in call.keywords if each.arg == "title"]
    return [call.args[place] for place in PLACES_OF_TEXTS.get(name, ()) if place < len(call.args)]


def _values_of(text: ast.expr, assigned: Mapping[str, Sequence[ast.expr]]) -> Iterator[str]:
    """Yield the texts that an expression may be: a constant, one of two, or what a variable of the module is assigned."""
    if isinstance(text, ast.Constant) and isinstance(text.value, str):
        yield text.value
    elif isinstance(text, ast.IfExp):
        yield from _values_of(text.body, assigned)
        yield from _values_of(text.orelse, assigned)
    elif isinstance(text, ast.Name):
        for value in assigned.get(text.id, ()):
            if not isinstance(value, ast.Name):
                yield from _values_of(value, assigned)


ERRORS = (ForeignRequest, NotAllowed, TooManyJobs, UnknownAmount, UnknownBulkAction)
"""Errors whose pages show the default message of their class."""

STATUSES = (400, 403, 404, 409, 410, 422, 500, 503)


def texts() -> set[str]:
    known: Iterable[str] = [*State, *Role, *(text for _, _, text in NAVIGATION)]
    known = [*known, *(str(error()) for error in ERRORS), *(HTTPStatus(status).phrase for status in STATUSES)]
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
