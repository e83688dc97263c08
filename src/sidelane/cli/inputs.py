"""Arguments for a job from the command line: checked to be a JSON object, and against the task where the lane is known."""

import json
from pathlib import Path
from typing import Any, NoReturn

import typer

from sidelane.app import Sidelane
from sidelane.model.codec import check_size
from sidelane.model.errors import ArgumentsError, ArgumentsMismatch, UnknownTask
from sidelane.model.job import JobSpec
from sidelane.model.settings import Settings

HINT = "--input"


def input_of(text: str) -> str:
    """Read a JSON object, or `@file` that holds one, and give its JSON text. Raises `typer.BadParameter`."""
    source = text
    if text.startswith("@"):
        try:
            source = Path(text[1:]).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{text[1:]} cannot be read: {error}.", param_hint=HINT) from error
    try:
        value: Any = json.loads(source, parse_constant=_no_number)
    except ValueError as error:
        raise typer.BadParameter(f"this is no JSON: {error}.", param_hint=HINT) from error
    if not isinstance(value, dict):
        raise typer.BadParameter(
            'arguments are a JSON object by parameter name, as in {"question": "Why?"}.', param_hint=HINT
        )
    return json.dumps(value, separators=(",", ":"))


def check_input(text: str, spec: JobSpec, settings: Settings, lane: Sidelane | None) -> None:
    """Raise `PayloadTooLarge` on arguments over the limit and, where the lane is known, `ArgumentsError` on ones that do not fit
    the job's task, `UnknownTask` where it does not have that task."""
    check_size(text, settings.payload_limit, "The input")
    if lane is None:
        return
    task = lane.registry.tasks.get(spec.task)
    if task is None:
        raise UnknownTask(
            f"The lane has no task {spec.task!r}, so the input cannot be checked. Leave --lane out to go without."
        )
    if spec.placeholders.keys() - json.loads(text).keys():
        return  # some are filled in when it starts, with what it follows came to: only then can all be checked
    try:
        task.decode_arguments(text, spec.version)
    except ArgumentsMismatch as error:
        raise ArgumentsError(
            f"The input does not fit task {spec.task!r}: {error.__cause__ or error}. Nothing was changed."
        ) from error


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number in JSON")
