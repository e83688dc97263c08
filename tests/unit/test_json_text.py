"""JSON that is stored or sent: every script stays readable, and only what UTF-8 cannot hold is escaped."""

import json
from typing import Any

import pytest

from sidelane import Problem
from sidelane.model.job import State, end_event_payload
from sidelane.model.json_text import dump_json
from sidelane.stores.serialization import dumps

KOREAN = "안녕하세요 🙂"


@pytest.mark.parametrize("dump", [dump_json, dumps])
def test_text_of_any_script_is_written_as_it_is(dump: Any) -> None:
    assert dump({"text": KOREAN}) == f'{{"text":"{KOREAN}"}}'


@pytest.mark.parametrize("dump", [dump_json, dumps])
def test_lone_surrogates_are_escaped_and_the_rest_stays_readable(dump: Any) -> None:
    text = dump([KOREAN + "\ud800"])
    assert text == f'["{KOREAN}\\ud800"]'
    assert json.loads(text.encode()) == [KOREAN + "\ud800"]


def test_an_end_event_has_the_readable_detail_of_its_problem() -> None:
    data = end_event_payload("a", State.FAILED, None, Problem(status=409, detail=KOREAN))
    assert KOREAN in data
    assert json.loads(data)["problem"]["detail"] == KOREAN
