"""Sizes as people write them."""

import pytest

from sidelane.model.sizes import size_of


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500MB", 500_000_000),
        ("2GiB", 2**31),
        ("2 gib", 2**31),
        ("1.5kB", 1500),
        ("64B", 64),
        ("1TB", 10**12),
        ("1KiB", 1024),
    ],
)
def test_sizes_are_parsed(text: str, size: int) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize("text", ["", "500", "MB", "0MB", "-1MB", "1 M", "1e3MB", "1MB 2MB", "٣MB", "1" * 400 + "MB"])
def test_invalid_sizes_are_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="write a size"):
        size_of(text)
