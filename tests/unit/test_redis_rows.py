"""A row as the scripts pack it and as Python reads it."""

import re
from pathlib import Path

from sidelane.stores import redis
from sidelane.stores.redis.row import Row


def test_scripts_and_python_agree_on_the_order_of_a_rows_fields() -> None:
    text = (Path(redis.__file__).parent / "shared" / "rows.lua").read_text("utf-8")
    places: dict[str, int] = {}
    for names, numbers in re.findall(r"^local ([A-Z_, ]+) = ([\d, ]+)$", text, re.MULTILINE):
        if numbers.startswith("0"):  # the codes of states
            continue
        places |= zip(names.split(", "), map(int, numbers.split(", ")), strict=True)
    places["SEQUENCE"] = places.pop("SEQ")
    assert [name.lower() for name, _ in sorted(places.items(), key=lambda item: item[1])] == list(Row._fields)
    assert sorted(places.values()) == list(range(1, len(places) + 1))
