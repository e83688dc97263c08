"""The layout of a job's row: Lua packs it and Python reads it."""

import re
from pathlib import Path

from sidelane.stores import redis
from sidelane.stores.redis.replies import Row


def test_scripts_and_python_agree_on_the_order_of_a_rows_fields() -> None:
    text = (Path(redis.__file__).parent / "shared" / "rows.lua").read_text("utf-8")
    places: dict[str, int] = {}
    for names, numbers in re.findall(r"^local ([A-Z_, ]+) = ([\d, ]+)$", text, re.MULTILINE):
        if numbers.startswith("0"):  # the codes of states
            continue
        places |= zip(names.split(", "), map(int, numbers.split(", ")), strict=True)
    assert [name.lower() for name, _ in sorted(places.items(), key=lambda item: item[1])] == list(Row._fields)
    assert sorted(places.values()) == list(range(1, len(places) + 1))
