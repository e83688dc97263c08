"""Named SQL statements, read once from the `.sql` file beside a module.

A statement begins with a line `-- :its_name` and goes on to the next such line; what stands before the first is the header.
"""

import re
from pathlib import Path

_NAME = re.compile(r"^-- :(\w+)\n", re.MULTILINE)


def statements(module_file: str) -> dict[str, str]:
    """Give the statements of the `.sql` file that has this module's name."""
    text = Path(module_file).with_suffix(".sql").read_text(encoding="utf-8")
    _header, *parts = _NAME.split(text)
    return {name: sql.strip() for name, sql in zip(parts[::2], parts[1::2], strict=True)}
