"""Secrets of receivers, looked up by name when something is delivered: they are kept nowhere in a job."""

import inspect
import os
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence

from sidelane.model.errors import SidelaneError

Secret = str | Sequence[str]
"""One secret, or all that are valid while one takes the place of another."""

SecretSource = Mapping[str, Secret] | Callable[[str], Secret | Awaitable[Secret | None] | None]
"""Secrets by name, or a function that gives them, None where there is none."""

VARIABLE = "SIDELANE_WEBHOOK_SECRET_"
"""What the environment variables begin with; the name follows in capitals. Several secrets have spaces in between."""


class SecretError(SidelaneError):
    """A secret that a delivery needs is missing, or none."""


class Secrets:
    """The secrets of one lane: from what it was given, else from the environment."""

    def __init__(self, source: SecretSource) -> None:
        self._source = source

    async def of(self, name: str) -> list[str]:
        """Give the secrets of this name that are valid now, the newest first. Raises `SecretError`."""
        found = self._source.get(name) if isinstance(self._source, Mapping) else self._source(name)
        if inspect.isawaitable(found):
            found = await found
        variable = variable_of(name)
        secrets = [found] if isinstance(found, str) else list(found or os.environ.get(variable, "").split())
        if not secrets:
            raise SecretError(
                f"There is no secret {name!r}: give it to the lane, Sidelane(secrets=…), or to its workers as {variable}."
            )
        return secrets


def variable_of(name: str) -> str:
    """Give the environment variable of a secret."""
    return VARIABLE + re.sub(r"[^A-Z0-9]", "_", name.upper())
