"""Endpoints: as values and parsed from text."""

from typing import Any

import pytest

from sidelane.model.errors import ConfigurationError
from sidelane.transports.endpoints import PubSub, Sqs, StoredEndpoint, parse

QUEUE_URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/offers.fifo"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("sqs://offers", Sqs("offers")),
        (
            "sqs://offers.fifo?region=eu-west-1&dead_letters=bad",
            Sqs("offers.fifo", region="eu-west-1", dead_letters="bad"),
        ),
        (f"sqs+{QUEUE_URL}", Sqs(QUEUE_URL)),
        (
            "sqs+http://127.0.0.1:9324/queue/offers?dead_letters=b",
            Sqs("http://127.0.0.1:9324/queue/offers", dead_letters="b"),
        ),
        ("sqs://offers?endpoint_url=http://127.0.0.1:9324", Sqs("offers", endpoint_url="http://127.0.0.1:9324")),
        ("pubsub://projects/shop/topics/offers", PubSub(topic="offers", project="shop")),
        ("pubsub://projects/shop/subscriptions/work", PubSub(subscription="work", project="shop")),
        ("pubsub://subscriptions/work?dead_letters=bad", PubSub(subscription="work", dead_letters="bad")),
    ],
)
def test_endpoint_is_parsed_from_text(text: str, address: StoredEndpoint) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "offers",
        "sqs",
        "sqs://",
        "sqs://a/b",
        "sqs+ftp://host/offers",
        "https://sqs.eu-west-1.amazonaws.com/123456789012/offers",
        "kafka://offers",
        "pubsub://",
        "pubsub://offers",
        "pubsub://projects/shop/topics/",
        "pubsub://projects/shop/queues/offers",
        "pubsub+https://projects/shop/topics/offers",
    ],
)
def test_invalid_text_is_refused_with_the_valid_forms(text: str) -> None:
    with pytest.raises(ConfigurationError, match="sqs://queue"):
        parse(text)


def test_unknown_option_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="dead_letters, endpoint_url, region are allowed here, not colour"):
        parse("sqs://offers?colour=red")


@pytest.mark.parametrize(("kind", "values"), [(Sqs, {"queue": ""}), (PubSub, {})])
def test_empty_endpoint_is_refused(kind: Any, values: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError):
        kind(**values)


def test_endpoint_describes_itself() -> None:
    assert str(Sqs("offers")) == "SQS queue offers"
    assert str(PubSub(topic="t", subscription="s")) == "Pub/Sub topic t, subscription s"
