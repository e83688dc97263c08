"""Decoding of large texts: not all validation errors are formatted."""

import json
from typing import Literal

import pytest
from pydantic import BaseModel

from sidelane.model.codec import LARGE_TEXT, Codec


class Leaf(BaseModel):
    kind: Literal["leaf"]
    value: int


class Node(BaseModel):
    kind: Literal["node"]
    children: "list[Node | Leaf]" = []
    tags: set[str] = set()
    pair: tuple[int, ...] = ()


CODEC = Codec[Node](Node)


def test_a_large_valid_text_is_decoded() -> None:
    leaves = [{"kind": "leaf", "value": number} for number in range(LARGE_TEXT // 20)]
    text = json.dumps({"kind": "node", "children": [{"kind": "node", "children": leaves}], "tags": ["a", "b"]})
    assert len(text) > LARGE_TEXT
    node = CODEC.decode(text)
    assert node.tags == {"a", "b"}
    (inner,) = node.children
    assert isinstance(inner, Node)
    assert inner.children[-1] == Leaf(kind="leaf", value=LARGE_TEXT // 20 - 1)


@pytest.mark.parametrize(
    ("field", "value"), [("pair", []), ("tags", 1), ("children", {"kind": "node", "pair": ["x"] * 9})]
)
def test_decoding_a_large_text_stops_at_its_first_error(field: str, value: object) -> None:
    text = json.dumps({"kind": "node", field: [value] * LARGE_TEXT})
    with pytest.raises(TypeError) as refused:
        CODEC.decode(text)
    assert str(refused.value).startswith(f"{field}.")
    assert str(LARGE_TEXT) not in str(refused.value).replace(",", "")
