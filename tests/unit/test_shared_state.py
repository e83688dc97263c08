"""Names of values: ranges of names with a prefix."""

import random

import pytest

from sidelane.model.shared_state import ValueChange, is_name, name_range

CHARACTERS = "\0\x01a\u007f\u0080\ud7ff\ue000\uffff\U00010000\U0010fffe\U0010ffff"
"""Characters at the bounds of encodings."""


@pytest.mark.parametrize(
    ("prefix", "after", "expected"),
    [
        ("", None, ("", None)),
        ("a", None, ("a", "b")),
        ("a", "a", ("a\0", "b")),
        ("a", "B", ("a", "b")),
        ("a", "az", ("az\0", "b")),
        ("a", "b", None),
        ("", "b", ("b\0", None)),
        ("a\ud7ff", None, ("a\ud7ff", "a\ue000")),
        ("a\U0010ffff\U0010ffff", None, ("a\U0010ffff\U0010ffff", "b")),
        ("\U0010ffff", "\U0010ffff", ("\U0010ffff\0", None)),
        ("\ud800", None, None),
        ("a", "\ud800", None),
    ],
)
def test_a_range_begins_with_the_prefix_or_after_a_name_and_ends_with_the_prefix(
    prefix: str, after: str | None, expected: tuple[str, str | None] | None
) -> None:
    assert name_range(prefix, after) == expected


def test_a_range_contains_exactly_the_names_with_the_prefix_that_follow() -> None:
    dice = random.Random(15)

    def text(shortest: int = 0) -> str:
        return "".join(dice.choices(CHARACTERS, k=dice.randint(shortest, 3)))

    for _ in range(20_000):
        name, prefix, after = text(1), text(), dice.choice([None, text()])
        found = name_range(prefix, after)
        inside = found is not None and found[0] <= name and (found[1] is None or name < found[1])
        assert inside == (name.startswith(prefix) and (after is None or name > after)), (name, prefix, after)
        assert (name < prefix) == (name.encode() < prefix.encode())


def test_a_name_has_a_bounded_length_and_can_be_written_as_utf_8() -> None:
    assert [is_name(name) for name in ("", "\0", "a" * 1088, "a" * 1089, "\ud800", "é")] == [
        False,
        True,
        True,
        False,
        False,
        True,
    ]


def test_each_change_has_its_own_version() -> None:
    changes = [ValueChange(name="x", text="1", replaces=None) for _ in range(100)]
    assert len({change.version for change in changes}) == 100
