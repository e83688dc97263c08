"""Masking: hidden fields leave no value behind, and come back when the rest is edited."""

import json
from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from sidelane.web.dashboard.masking import HIDDEN, masked, unmasked

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["phone", "name", "in"]), inner, max_size=3)
    ),
    max_leaves=10,
)


def hides_phones(path: Sequence[str]) -> bool:
    return path[-1] == "phone"


def test_fields_are_hidden_by_their_path_in_objects_and_lists() -> None:
    value = {"phone": 1, "in": [{"phone": {"a": 2}, "name": "x"}]}
    assert masked(value, hides_phones) == {"phone": HIDDEN, "in": [{"phone": HIDDEN, "name": "x"}]}
    assert masked(value, lambda path: list(path) == ["in", "phone"])["phone"] == 1


@given(values)
def test_what_is_hidden_comes_back_unless_it_is_edited(value: object) -> None:
    hidden = json.dumps(masked({"in": value}, hides_phones))
    assert json.loads(unmasked(hidden, json.dumps({"in": value}), hides_phones)) == {"in": value}


def test_hidden_field_that_is_edited_has_the_new_value() -> None:
    original = '{"phone": 1, "name": "x"}'
    assert json.loads(unmasked('{"phone": 2}', original, hides_phones)) == {"phone": 2}
    assert json.loads(unmasked(f'{{"other": "{HIDDEN}"}}', original, hides_phones)) == {"other": HIDDEN}


@given(values)
def test_fields_inside_of_json_texts_are_hidden_and_come_back(value: object) -> None:
    original = json.dumps({"body": json.dumps({"phone": "0170", "in": value})})
    hidden = masked(json.loads(original), hides_phones)
    assert "0170" not in json.dumps(hidden)
    assert json.loads(unmasked(json.dumps(hidden), original, hides_phones)) == json.loads(original)


def test_json_text_whose_other_fields_are_edited_keeps_its_hidden_ones() -> None:
    original = json.dumps({"body": '{"phone": "0170", "name": "x"}'})
    edited = json.dumps({"body": f'{{"phone": "{HIDDEN}", "name": "y"}}'})
    assert json.loads(json.loads(unmasked(edited, original, hides_phones))["body"]) == {"phone": "0170", "name": "y"}


def test_text_that_is_no_json_is_hidden_only_if_it_names_a_hidden_field() -> None:
    assert masked('{"phone": "0170"', hides_phones) == HIDDEN
    assert masked("[" * 100_000 + '"phone" : 1', hides_phones) == HIDDEN
    assert masked('{"name": "x"', hides_phones) == '{"name": "x"'
    assert masked("call 0170", hides_phones) == "call 0170"


def test_field_that_a_later_one_of_the_same_name_replaces_is_hidden() -> None:
    assert masked('{"a": {"phone": "0170"}, "a": 1}', hides_phones) == HIDDEN
    assert masked('{"phone": "0170", "phone": 1}', hides_phones) == f'{{"phone": "{HIDDEN}"}}'
