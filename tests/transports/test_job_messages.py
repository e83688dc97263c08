"""Job messages and tokens: written, read back, and refused if they are invalid."""

import json
from dataclasses import replace
from typing import Any

import pytest

from sidelane import CompletionMessage, DispatchedJob, EmittedEvent, Message, Problem
from sidelane.external.completion import make_token, read_token
from sidelane.model.errors import MalformedMessage
from sidelane.model.job import Lease
from sidelane.transports.job_messages import (
    MISSING,
    read_claim,
    read_completion,
    read_dispatched_header,
    read_input,
    write_completion,
    write_dispatched,
)

DISPATCHED = DispatchedJob(
    job="a", task="audio.analyse", attempt=2, input={"n": None}, timeout=7.5, token="t", key="k", version=3
)
TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def read_dispatched(message: Message) -> DispatchedJob:
    """Read a dispatched job in the two steps of a remote worker."""
    return replace(read_dispatched_header(message), input=read_input(message))


@pytest.mark.parametrize("value", [None, 0, "", [], {"a": [1.5, None, "é"]}])
def test_dispatched_job_round_trips(value: Any) -> None:
    dispatched = DispatchedJob(job="a", task="t", attempt=1, input=value, timeout=1, token="t", traceparent=TRACE)
    assert read_dispatched(write_dispatched(dispatched)) == dispatched
    assert read_dispatched(write_dispatched(DISPATCHED)) == DISPATCHED


def test_header_and_claim_are_read_without_the_rest() -> None:
    assert read_dispatched_header(write_dispatched(DISPATCHED)) == replace(DISPATCHED, input=None)
    reply = write_completion(CompletionMessage(job="a", token="t", result={"score": 1}), id="1")
    assert read_claim(reply) == ("a", "t")
    for wrong in (reply, Message(body="[]"), Message(body="{}")):
        with pytest.raises(MalformedMessage):
            read_dispatched_header(wrong)
    with pytest.raises(MalformedMessage):
        read_claim(write_dispatched(DISPATCHED))


@pytest.mark.parametrize(
    "reply",
    [
        CompletionMessage(job="a", token="t", result=None),
        CompletionMessage(job="a", token="t", result={"score": 1}, events=(EmittedEvent("x"),), ordinal=7),
        CompletionMessage(job="a", token="t", problem={"status": 502}, retry=False),
        CompletionMessage(
            job="a", token="t", events=(EmittedEvent("progress", {"percent": 3}), EmittedEvent("x", [1])), ordinal=1
        ),
    ],
)
def test_completion_round_trips(reply: CompletionMessage) -> None:
    assert read_completion(write_completion(reply, id="1")) == reply


def test_problem_is_written_as_its_document() -> None:
    message = write_completion(CompletionMessage(job="a", token="t", problem=Problem(status=502, detail="no")), id="1")
    assert read_completion(message).problem == Problem(status=502, detail="no").document()


def test_completion_in_our_own_format_needs_job_and_token() -> None:
    with pytest.raises(ValueError, match="token"):
        write_completion(CompletionMessage(job="a", result=1), id="1")


@pytest.mark.parametrize(
    "fields",
    [
        {}, {"job": "a"}, {"result": 1}, {"job": "a", "key": "k", "result": 1}, {"job": "a b", "result": 1},
        {"job": 7, "result": 1}, {"key": "", "result": 1}, {"key": "k" * 513, "result": 1}, {"key": 7, "result": 1},
        {"job": "a", "problem": "no"}, {"job": "a", "result": 1, "token": 7}, {"job": "a", "result": 1, "ordinal": 0},
        {"job": "a", "events": [EmittedEvent("x")] * 201}, {"job": "a", "result": 1, "ordinal": 2**53},
    ],
)  # fmt: skip
def test_invalid_completion_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(MalformedMessage):
        CompletionMessage(**fields)


def test_none_is_a_result_and_missing_is_not() -> None:
    assert CompletionMessage(job="a", result=None).ends
    assert not CompletionMessage(job="a", events=[EmittedEvent("x")]).ends
    assert repr(MISSING) == "MISSING"


def test_messages_of_one_job_form_a_group() -> None:
    reply = write_completion(CompletionMessage(job="a", token="t", result=1), id="1")
    assert (write_dispatched(DISPATCHED).group, reply.group) == ("a", "a")
    assert write_dispatched(DISPATCHED).id == "a.2"


@pytest.mark.parametrize(
    "data",
    [
        None, 7, "text", [], {}, {"job": "a"}, {"job": 7, "token": "t", "result": 1}, {"job": "a", "token": None, "result": 1},
        {"job": "a", "token": "t", "events": []}, {"job": "a", "token": "t", "events": {}}, {"job": "", "token": "t", "result": 1},
        {"job": "a", "task": "t", "attempt": 0, "input": 1, "timeout": 1, "token": "t"},
        {"job": "a", "task": "t", "attempt": 1, "input": 1, "timeout": -1, "token": "t"},
        {"job": "a", "task": "t", "attempt": 1, "timeout": 1, "token": "t"},
    ],
)  # fmt: skip
def test_invalid_data_are_refused(data: Any) -> None:
    for kind, read in (
        ("completed", read_completion),
        ("events", read_completion),
        ("dispatched", read_dispatched),
        ("other", read_completion),
    ):
        event = {"specversion": "1.0", "id": "1", "source": "s", "type": f"sidelane.job.{kind}", "data": data}
        with pytest.raises(MalformedMessage):
            read(Message(body=json.dumps(event)))


KEY = b"of these tests"
LEASE = Lease("job.1", 12, "0123456789abcdef")


def test_token_is_valid_for_its_lease_and_key_only() -> None:
    token = make_token(KEY, LEASE)
    assert read_token(KEY, "job.1", token) == LEASE
    assert read_token(KEY, "job", token) is None
    assert read_token(b"another", "job.1", token) is None
    assert make_token(KEY, Lease("job", 12, LEASE.nonce)) != token


def test_changed_token_is_invalid() -> None:
    token = make_token(KEY, LEASE)
    for factory, letter in enumerate(token):
        for other in ("0", "A", ".", "", "é", "\n"):
            if other != letter:
                assert read_token(KEY, "job.1", token[:factory] + other + token[factory + 1 :]) is None
    assert read_token(KEY, "job.1", token + "\n") is None
