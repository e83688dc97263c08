"""Rendering: the templates, in the language of the reader, with numbers, times and durations as people read them."""

import json
from collections.abc import Mapping, Sequence
from functools import cache, partial
from importlib.resources import files
from typing import Any, Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from sidelane.admin.figures import cost_text
from sidelane.admin.limits import numbers_text
from sidelane.model.codec import rfc3339
from sidelane.model.durations import duration_text, rate_text
from sidelane.model.sentence import Sentence
from sidelane.model.sizes import size_text
from sidelane.web.dashboard.assets import asset_url

LANGUAGES: Final = ("en", "ko")
"""The languages of the pages. Texts are written in the first, and translated by `translations/<language>.json`."""

NOTHING: Final = "\N{EN DASH}"
"""What pages show for a figure that does not exist."""

SPARK_WIDTH, SPARK_HEIGHT = 96, 22


@cache
def _translations(language: str) -> Mapping[str, str]:
    if language == LANGUAGES[0]:
        return {}
    text = files("sidelane.web.dashboard").joinpath("translations", f"{language}.json").read_text("utf-8")
    found: dict[str, str] = json.loads(text)
    return found


def translate(language: str, text: str | Sentence, /, **values: object) -> str:
    """Return a text in a language, with its values, e.g. `translate("ko", "{count} jobs", count=3)`."""
    if isinstance(text, Sentence):
        parts = text.values.items()
        values = {name: translate(language, each) if isinstance(each, Sentence) else each for name, each in parts}
        text = text.text
    translated = _translations(language).get(text, text)
    return translated.format(**values) if values else translated


def chosen_language(preferences: str) -> str:
    """Return the first language of `Accept-Language` (RFC 9110) that the pages have, or English."""
    ranked: list[tuple[float, str]] = []
    for part in preferences[:200].split(","):
        name, _, quality = part.strip().partition(";q=")
        try:
            ranked.append((-float(quality or 1.0), name.strip().lower()[:2]))
        except ValueError:
            continue
    return next((name for _, name in sorted(ranked, key=lambda each: each[0]) if name in LANGUAGES), LANGUAGES[0])


def count_text(number: float) -> str:
    """Return a number with thousands separated, e.g. "58,410"."""
    return f"{number:,.0f}"


def percent_text(share: float | None) -> str:
    """Return a share as a percentage, e.g. "99.4 %", or a dash for None."""
    if share is None:
        return NOTHING
    if share in (0.0, 1.0):
        return f"{share:.0%}".replace("%", " %")
    if share < 0.001:
        return "< 0.1 %"  # not nothing
    return f"{min(99.9, share * 100):.1f} %"  # 99.96 % is not everything


def per_minute_text(per_second: float) -> str:
    """Return a rate per second as one per minute, e.g. "186" or "0.4"."""
    rate = per_second * 60
    return f"{rate:.1f}" if 0 < rate < 9.95 else count_text(rate)


def number_text(number: float | None) -> str:
    """Return a number as a whole one, or a dash for None."""
    return NOTHING if number is None else count_text(number)


def cost_or_nothing(cost: float) -> str:
    """Return a cost, or a dash without one."""
    return cost_text(cost) if cost else NOTHING


def path_segment(name: str) -> str:
    """Return a name as one segment of a path, also if it has a slash."""
    return quote(name, safe="")


def seconds_text(seconds: float | None) -> str:
    """Return a duration, e.g. "41 s", or a dash for None."""
    return NOTHING if seconds is None else duration_text(seconds)


def time_element(at: float | None) -> Markup:
    """Return a `time` element, which a script shows in the reader's time zone."""
    if at is None:
        return Markup("{}").format(NOTHING)
    text = rfc3339(at)
    return Markup('<time datetime="{}">{}</time>').format(text, text[:19].replace("T", " "))


def pretty_json(value: object) -> str:
    """Return JSON on several lines. Text that is JSON is parsed first."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:
            return str(value)
    return json.dumps(value, indent=2, ensure_ascii=False)


def sparkline(values: Sequence[float], label: str) -> Markup:
    """Return a small chart of some values as SVG. `label` says what it shows to people who do not see it."""
    largest = max(values, default=0) or 1
    step = SPARK_WIDTH / max(1, len(values) - 1)
    points = " ".join(
        f"{index * step:.1f},{SPARK_HEIGHT - 1 - value / largest * (SPARK_HEIGHT - 3):.1f}"
        for index, value in enumerate(values)
    )
    return Markup(
        '<svg class="spark" viewBox="0 0 96 22" role="img" aria-label="{}">'
        '<polygon class="ar" points="0,22 {} 96,22"/><polyline class="ln" points="{}"/></svg>'
    ).format(label, points, points)


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("sidelane.web.dashboard", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "bytes": size_text, "cost": cost_or_nothing, "count": count_text, "duration": seconds_text, "json": pretty_json,
        "number": number_text, "numbers": numbers_text, "per_minute": per_minute_text, "percent": percent_text, "rate": rate_text,
        "segment": path_segment, "time": time_element,
    }  # fmt: skip
    environment.globals |= {"asset": asset_url, "sparkline": sparkline}
    return environment


ENVIRONMENT: Final = _environment()


def compile_templates() -> None:
    """Compile all templates, which takes a few tenths of a second, so that no visitor waits for it."""
    for name in ENVIRONMENT.list_templates():
        ENVIRONMENT.get_template(name)


def render(template: str, language: str, values: Mapping[str, Any]) -> str:
    """Return a page in a language. Every value is escaped."""
    texts = {"_": partial(translate, language), "language": language}
    return ENVIRONMENT.get_template(template).render({**values, **texts})
