"""`python -m sidelane.cli` is the command `sidelane`."""

from sidelane.cli import main

main()
