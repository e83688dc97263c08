"""`sidelane config`: print every setting, its value and its source."""

from typing import Any

from rich.text import Text

from sidelane.cli.locate import load_lane
from sidelane.cli.options import AsJson, LaneName
from sidelane.cli.output.console import output, print_json, stderr, warning, write
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.configuration import PREFIX, Configuration, load_settings, misspelled_variables
from sidelane.model.settings import Settings
from sidelane.stores.factory import MASK, redact_url

COLUMNS = Columns(headers=("SETTING", "VALUE", "FROM", "FOR"), wrapping=("VALUE", "FOR"))

FILE = "pyproject.toml"


def config(*, as_json: AsJson = False, lane: LaneName = None) -> None:
    """Print every setting: its value, its source and its purpose."""
    configuration = load_lane(lane).configuration if lane is not None else load_settings()
    if as_json:
        print_json(_document(configuration))
        return
    console = output()
    write(console, fit_table(console, COLUMNS, [_row(name, configuration) for name in Settings.model_fields]))
    stderr().print(
        f"Set them as {PREFIX}<SETTING> in the environment, or under [tool.sidelane] in {configuration.root / FILE}.",
        style="dim",
    )
    for name, setting in misspelled_variables().items():
        stderr().print(warning(f"{name} has no effect, because there is no such setting; did you mean {setting}?"))


def _document(configuration: Configuration) -> dict[str, Any]:
    return {
        name: {
            "value": _redacted(name, getattr(configuration.settings, name)),
            "from": configuration.origins[name],
            "default": field.default,
            "description": field.description,
            "variable": PREFIX + name.upper(),
        }
        for name, field in Settings.model_fields.items()
    }


def _row(name: str, configuration: Configuration) -> list[Text]:
    origin = configuration.origins[name]
    chosen = origin != "default"
    value = _redacted(name, getattr(configuration.settings, name))
    return [
        Text(name, "bold"),
        Text(_text(value), "cyan" if chosen else ""),
        Text(_source(origin), "" if chosen else "dim"),
        Text(Settings.model_fields[name].description or "", "dim"),
    ]


def _source(origin: str) -> str:
    """Return where a setting comes from, in a few characters: the variable is named below the table."""
    return next((source for source in (FILE, "environment") if source in origin), origin)


def _redacted(name: str, value: Any) -> Any:
    """Return a setting's value without secrets."""
    if name in ("secret", "alert_url"):  # the path of a webhook's URL is often its secret
        return MASK if value else ""
    if name == "store" or (isinstance(value, str) and "://" in value):
        return redact_url(value)
    return value


def _text(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value) or "—"
