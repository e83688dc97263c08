"""CloudEvents: written by the specification, checked when read, and never quoted in errors."""

import json
from dataclasses import replace
from typing import Any

import pytest

from sidelane.model.errors import MalformedMessage
from sidelane.transports.cloudevents import CloudEvent, message, read, write

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
LEAST = {"specversion": "1.0", "id": "7", "source": "/shop", "type": "shop.sold"}
EVENT = CloudEvent(
    id="7.1",
    source="https://api.example.com/jobs",
    type="sidelane.job.dispatched",
    subject="7",
    time=1_700_000_000.25,
    data='{"text":"말하다","score":1.0}',
    traceparent=TRACE,
)


def text(**members: Any) -> str:
    return json.dumps({**LEAST, **members})


def test_event_is_written_by_the_specification() -> None:
    assert json.loads(write(EVENT)) == {
        "specversion": "1.0",
        "id": "7.1",
        "source": "https://api.example.com/jobs",
        "type": "sidelane.job.dispatched",
        "subject": "7",
        "time": "2023-11-14T22:13:20.250000Z",
        "datacontenttype": "application/json",
        "traceparent": TRACE,
        "data": {"text": "말하다", "score": 1.0},
    }


def test_message_has_the_events_id_and_content_type() -> None:
    sent = message(EVENT, group="g")
    assert (sent.id, sent.group) == ("7.1", "g")
    assert sent.attributes == {"content-type": "application/cloudevents+json"}
    assert read(sent.body) == replace(EVENT, datacontenttype="application/json")


def test_event_round_trips_with_its_extensions() -> None:
    event = CloudEvent(id="1", source="s", type="t", extensions={"partitionkey": "k", "number": -5, "sampled": True})
    assert read(write(event)) == event
    assert read(write(replace(event, dataref="s3://bucket/key"))).dataref == "s3://bucket/key"


def test_characters_that_transports_refuse_are_escaped() -> None:
    event = replace(EVENT, data='"\uffff \ufffe \x7f"', datacontenttype="application/json")
    assert not {"\ufffe", "\uffff"} & set(write(event))
    assert json.loads(read(write(event)).data or "") == "\uffff \ufffe \x7f"


def test_required_attributes_are_enough() -> None:
    assert read(text()) == CloudEvent(id="7", source="/shop", type="shop.sold")
    assert read(text(subject=None, time=None)) == read(text())  # a null attribute is an absent one


def test_data_may_be_any_json_including_null() -> None:
    values: tuple[Any, ...] = (None, 0, "text", [], {"a": [1, {"b": None}]}, 12345678901234567890123)
    for value in values:
        assert json.loads(read(text(data=value)).data or "") == value
    assert read(text()).data is None


def test_data_may_be_in_base64() -> None:
    assert read(text(data_base64="eyJhIjogMX0=")).data == '{"a":1}'
    assert read(text(data_base64="e30=", datacontenttype="application/vnd.shop+json; charset=utf-8")).data == "{}"


@pytest.mark.parametrize(
    ("written", "seconds"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000.0),
        ("2023-11-15t07:13:20.25+09:00", 1_700_000_000.25),
        ("2023-11-14T22:13:20.123456789z", 1_700_000_000.123456),
    ],
)
def test_time_is_read_as_rfc_3339(written: str, seconds: float) -> None:
    assert read(text(time=written)).time == seconds


def test_invalid_trace_is_dropped_and_the_event_kept() -> None:
    assert read(text(traceparent=TRACE)).traceparent == TRACE
    assert read(text(traceparent="junk")).traceparent is None
    assert read(text(traceparent=5)).traceparent is None


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("", "not JSON: EOF"),
        ('{"specversion": "1.0", "id"', "not JSON: EOF"),
        (b'\xff{"hidden": 1}', "not JSON"),
        ("[" * 100_000, "recursion limit"),
        ('["hidden"]', "not a JSON object"),
        ('{"hidden": 1}', "no specversion"),
        (text(specversion="hidden"), "another specversion"),
        ('{"specversion": "1.0"}', "id: Field required; source: Field required; type: Field required"),
        (text(id=5), "id: Input should be a valid string"),
        (text(source=""), "source: is empty"),
        (text(subject="hidden\n"), "subject: has control characters"),
        (text(time="hidden"), "time: is not an RFC 3339 time"),
        (text(time="2026-13-01T00:00:00Z"), "time: is not an RFC 3339 time"),
        (text(time="2026-01-01T00:00:00"), "time: is not an RFC 3339 time"),
        (text(time=1_700_000_000), "time: is not an RFC 3339 time"),
        (text(mine={"hidden": 1}), "extensions.mine: is not a text, a 32-bit integer"),
        (text(mine=1.5), "extensions.mine: is not a text"),
        (text(mine=2**31), "extensions.mine: is not a text"),
        (text(**{"hid den": "x"}), "names of lower-case letters and digits"),
        (text()[:-1] + ', "data": NaN}', "not JSON"),
        (text()[:-1] + ', "data": 1e999}', "data of the message are not JSON"),
        (text(data=1, data_base64="e30="), "both data and data_base64"),
        (text(data_base64="hidden"), "data of the message are not JSON"),
        (text(data_base64=5), "data of the message are not JSON"),
        (text(data_base64="e30=", datacontenttype="image/png"), "see its datacontenttype"),
    ],
)
def test_invalid_event_is_refused_with_a_reason_that_does_not_quote_it(body: str | bytes, reason: str) -> None:
    with pytest.raises(MalformedMessage) as refused:
        read(body)
    assert reason in str(refused.value)
    assert "hid" not in str(refused.value)
