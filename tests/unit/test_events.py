"""Cursors as text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidelane import Cursor


@given(st.from_regex(r"[A-Za-z0-9._~-]{1,128}", fullmatch=True), st.integers(0, 2**32 - 1), st.integers(0, 10**15 - 1))
def test_a_cursor_is_parsed_as_it_was_written(job_id: str, epoch: int, number: int) -> None:
    cursor = Cursor(epoch, number)
    assert Cursor.parse(cursor.text(job_id)) == (job_id, cursor)


@pytest.mark.parametrize(
    "text", ["", "a", "a:1", "a:1:2:3", "a b:1:2", "a:g:1", "a:1:-1", "a:1:٣", "a:123456789:1", ":1:1"]
)
def test_other_texts_are_not_cursors(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - a malformed cursor is nothing more than that
        Cursor.parse(text)
