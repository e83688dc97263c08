"""Command groups whose bare name lists: `sidelane queues` is `sidelane queues list`."""

from typing import Any

from typer.core import TyperGroup

LIST = "list"


class DefaultListGroup(TyperGroup):
    """A group that lists where no command of it is named; options then are those of its list."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = [LIST, *args]
        return super().parse_args(ctx, args)
