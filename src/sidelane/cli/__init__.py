"""The command line: one module a command group, over everything below it."""

import sys

MISSING = """\
sidelane: the command line needs the package {name!r}. Install it with the extra `cli`: pip install 'sidelane[cli]'"""

EXIT_CONFIGURATION = 3  # `Exit.CONFIGURATION`, whose module needs those packages itself


def main() -> None:
    """Run the command `sidelane`; say which extra to install where its packages are missing."""
    try:
        from sidelane.cli.main import application
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"typer", "rich"}:
            raise
        print(MISSING.format(name=package), file=sys.stderr)
        raise SystemExit(EXIT_CONFIGURATION) from None
    application(prog_name="sidelane")
