"""The command `sidelane` in the test's own process."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from typer.testing import CliRunner

from sidelane.cli.main import application


@dataclass(frozen=True, slots=True)
class Said:
    """What a command said, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


class Command(Protocol):
    def __call__(self, *arguments: str, env: Mapping[str, str] | None = None) -> Said: ...


def run(*arguments: str, env: Mapping[str, str] | None = None) -> Said:
    """Run a command. Errors that it does not expect are the test's."""
    found = CliRunner().invoke(application, arguments, env=env, catch_exceptions=False)
    return Said(found.exit_code, found.stdout, found.stderr)
