"""Runs the command `sidelane` in the test's own process."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from typer.testing import CliRunner

from sidelane.cli.main import command_line


@dataclass(frozen=True, slots=True)
class CommandResult:
    """Exit code and output of a command."""

    exit_code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.stdout)


class Command(Protocol):
    def __call__(self, *arguments: str, env: Mapping[str, str] | None = None) -> CommandResult: ...


def run(*arguments: str, env: Mapping[str, str] | None = None) -> CommandResult:
    """Run a command. Raises errors that the command does not handle."""
    result = CliRunner().invoke(command_line(arguments), arguments, env=env, catch_exceptions=False)
    return CommandResult(result.exit_code, result.stdout, result.stderr)
