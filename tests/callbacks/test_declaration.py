"""Invalid callbacks, which are refused when they are declared or when the call is made."""

from typing import Any

import pytest

from sidelane import (
    ArgumentsError,
    ConfigurationError,
    Delays,
    FinishedJob,
    Fixed,
    MessageCallback,
    PubSub,
    Retry,
    Sidelane,
    Sqs,
    Webhook,
)
from sidelane.callbacks.ssrf import AddressRefused
from sidelane.callbacks.url import parse_url
from sidelane.model.errors import TaskDeclarationError
from sidelane.testing import harness
from tests.callbacks.conftest import MakeLane

BE = "https://be.example/jobs"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "1 to 2,048"),
        ("https://be.example/" + "x" * 2048, "1 to 2,048"),
        ("ftp://be.example/", "begins with https"),
        ("be.example/jobs", "begins with https"),
        ("javascript:alert(1)", "begins with https"),
        ("https:///jobs", "names no host"),
        ("https://be.example:0/", "names no host"),
        ("https://be.example:99999/", "is not a URL"),
        ("https://[::1/", "is not a URL"),
        ("https://ann:pw@be.example/", "name or password"),
        ("https://be.example/a b", "percent-encode"),
        ("https://be.example/\r\nX: y", "percent-encode"),
        ("https://백엔드.example/", "Punycode"),
        (None, "1 to 2,048"),
        (b"https://be.example/", "1 to 2,048"),
    ],
)
def test_url_that_cannot_be_posted_to_is_refused(url: Any, said: str) -> None:
    with pytest.raises(ArgumentsError, match=said) as raised:
        Webhook(url)
    assert raised.value.status == 422
    assert len(str(raised.value)) < 400


def test_secrets_in_a_url_are_not_quoted_in_errors() -> None:
    with pytest.raises(ArgumentsError) as raised:
        Webhook("ftp://be.example/jobs?token=s3cret")
    assert "s3cret" not in str(raised.value)
    assert parse_url("https://be.example/jobs?token=s3cret").redacted == "https://be.example/jobs?…"


@pytest.mark.parametrize(
    "fields",
    [
        {"on": "always"}, {"secret": ""}, {"secret": 7}, {"body": "form"}, {"headers": {"Host": "other"}},
        {"headers": {"X-A": "a\r\nX-B: b"}}, {"headers": {"X A": "a"}}, {"headers": {"webhook-id": "1"}},
        {"headers": {"X-A": 7}}, {"headers": {"Content-Length": "7"}},
    ],
)  # fmt: skip
def test_invalid_fields_of_a_webhook_are_named(fields: dict[str, Any]) -> None:
    with pytest.raises(ArgumentsError):
        Webhook(BE, **fields)


def test_message_callback_needs_a_queue_or_a_topic() -> None:
    for to in (PubSub(subscription="answers"), "answers", None):
        with pytest.raises(ArgumentsError, match=r"MessageCallback\(to="):
            MessageCallback(to=to)  # type: ignore[arg-type]
    assert MessageCallback(to=Sqs("answers"), on="failure").states == {"failed"}


def test_callback_must_be_a_webhook_or_a_message_callback(lane: Sidelane) -> None:
    @lane.task
    async def quick() -> None: ...

    for wrong in (BE, 7, [BE], quick.call()):
        with pytest.raises(ArgumentsError, match="it must be Webhook"):
            quick.options(callback=wrong)  # type: ignore[arg-type]
    with pytest.raises(ArgumentsError, match="at most 20"):
        quick.options(callback=[Webhook(BE)] * 21)
    with pytest.raises(TaskDeclarationError, match="it must be Webhook"):
        lane.task(callback=BE)(lambda: None)  # type: ignore[arg-type]


async def test_unmarked_payload_function_is_refused(lane: Sidelane) -> None:
    def form(ended: FinishedJob) -> str:
        return ""

    with pytest.raises(
        TaskDeclarationError, match=r"Task 'quick': body=form: mark the function with @lane\.callback_payload"
    ):

        @lane.task(callback=Webhook(BE, body=form))
        async def quick() -> None: ...

    @lane.task
    async def slow() -> None: ...

    async with harness(lane):
        with pytest.raises(ArgumentsError, match="body=form"):
            await slow.options(callback=Webhook(BE, body=form)).submit()


def test_payload_functions_need_different_names(lane: Sidelane) -> None:
    def make() -> Any:
        def form(ended: FinishedJob) -> str:
            return ""

        return form

    first = lane.callback_payload(make())
    assert lane.callback_payload(first) is first
    with pytest.raises(ConfigurationError, match="'form' is taken"):
        lane.callback_payload(make())
    with pytest.raises(ConfigurationError, match="has none"):
        lane.callback_payload(lambda ended: "")


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "10.0.0.8:8080", "[::1]", "169.254.169.254", "2130706433"])
async def test_private_address_is_refused_when_the_call_is_made(host: str, make_lane: MakeLane) -> None:
    lane = make_lane(allow_private_callbacks=False)

    @lane.task
    async def quick() -> None: ...

    async with harness(lane) as t:
        with pytest.raises(AddressRefused) as raised:
            await quick.options(callback=Webhook(f"http://{host}/")).submit()
        assert raised.value.status == 422
        assert await t.records(quick) == []
    with pytest.raises(TaskDeclarationError, match="Callbacks may not reach"):
        lane.task(callback=Webhook(f"http://{host}/"), name="other")(lambda: None)


async def test_host_off_the_allow_list_is_refused_when_the_call_is_made(make_lane: MakeLane) -> None:
    lane = make_lane(callback_hosts="be.example, *.our.example")

    @lane.task(callback=Webhook("https://eu.our.example/jobs"))
    async def quick() -> None: ...

    quick.options(callback=Webhook(BE)).call().spec()
    with pytest.raises(AddressRefused, match="SIDELANE_CALLBACK_HOSTS"):
        quick.options(callback=Webhook("https://elsewhere.example/")).call().spec()


def test_delays_are_used_in_order_and_the_last_one_repeats() -> None:
    steps = Delays((5, 60), random=lambda: 0.5)
    assert [steps.delay(failures) for failures in (1, 2, 3, 64)] == [5, 60, 60, 60]
    for wrong in ((), (-1,), (float("nan"),), [5], ("5",)):
        with pytest.raises(ConfigurationError):
            Delays(wrong)  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError):
        Delays((5,), jitter=3)


def test_retry_after_of_an_error_is_respected() -> None:
    class Busy(Exception):
        retry_after: Any = 30

    retry = Retry(attempts=3, backoff=Fixed(10))
    assert retry.next_delay(1, Busy()) == 30
    for said, waited in ((3, 10), (None, 10), (float("inf"), 10), ("soon", 10)):
        Busy.retry_after = said
        assert retry.next_delay(1, Busy()) == waited
    assert retry.next_delay(3, Busy()) is None
