"""Sizes as people write them, 500MB or 2GiB, and as they read them: 1.3 GB."""

import re

BYTES = {
    "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12,
    "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40,
}  # fmt: skip
"""Bytes by unit in upper case."""

_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,15})?)\s?([A-Za-z]{1,3})")


def size_of(text: str) -> int:
    """Parse a size and return its bytes: "500MB" is 500 000 000, "2 GiB" is 2 147 483 648. Raises ValueError."""
    found = _SIZE.fullmatch(text)
    size = int(float(found[1]) * BYTES.get(found[2].upper(), 0)) if found else 0
    if not size:
        raise ValueError(f"{text!r}: write a size, e.g. 500MB or 2GiB.")
    return size


def size_text(size: int) -> str:
    """Return bytes in readable form: "512 B", "4 kB", "52 MB", "1.3 GB"."""
    if size >= BYTES["GB"]:
        return f"{size / BYTES['GB']:,.1f} GB"
    if size >= BYTES["MB"]:
        return f"{size / BYTES['MB']:.0f} MB"
    return f"{size / BYTES['KB']:.0f} kB" if size >= BYTES["KB"] else f"{size} B"
