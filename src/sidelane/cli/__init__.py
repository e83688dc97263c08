"""The command line `sidelane`."""

import sys

MISSING = """\
sidelane: the command line needs the package {name!r}. Install it with the extra `cli`: pip install 'sidelane[cli]'"""

EXIT_CONFIGURATION = 3  # the value of `Exit.CONFIGURATION`


def main() -> None:
    """Run the command `sidelane`. If its packages are missing, print which extra to install."""
    try:
        from sidelane.cli.main import command_line
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in {"typer", "rich"}:
            raise
        print(MISSING.format(name=package), file=sys.stderr)
        raise SystemExit(EXIT_CONFIGURATION) from None
    command_line(sys.argv[1:])(prog_name="sidelane")
