"""Addresses: where messages go to or come from, as an application writes it. Values: nothing is opened by making one."""

import re
from dataclasses import KW_ONLY, dataclass
from typing import Any, Literal
from urllib.parse import parse_qsl

from sidelane.model.errors import ConfigurationError


@dataclass(frozen=True, slots=True)
class Sqs:
    """A queue of Amazon SQS, by name or URL.

    Region, credentials and endpoint come from where the AWS SDKs look for them (`AWS_REGION`, `AWS_ENDPOINT_URL`, profiles, …)
    unless they are given. Messages that cannot be read go to `dead_letters`, a queue's name or URL; without it to the dead-letter
    queue of its own redrive policy. Raises `ConfigurationError`.
    """

    queue: str
    _: KW_ONLY
    region: str | None = None
    endpoint_url: str | None = None
    dead_letters: str | None = None
    kind: Literal["sqs"] = "sqs"

    def __post_init__(self) -> None:
        if not self.queue:
            raise ConfigurationError("Sqs(queue=''): this is the name or the URL of a queue.")

    def __str__(self) -> str:
        return f"SQS queue {self.queue}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PubSub:
    """A topic of Google Pub/Sub to send to, a subscription to receive from, or both, by name or full path.

    `project` is that of the credentials unless it is given; `PUBSUB_EMULATOR_HOST` is honoured. `endpoint` is that of one region,
    such as `europe-west1-pubsub.googleapis.com`: the order of a group is kept among what was sent through one. Messages that cannot
    be read go to `dead_letters`, a topic; without it to the topic of the subscription's dead-letter policy. Raises
    `ConfigurationError`.
    """

    topic: str | None = None
    subscription: str | None = None
    project: str | None = None
    endpoint: str | None = None
    dead_letters: str | None = None
    kind: Literal["pubsub"] = "pubsub"

    def __post_init__(self) -> None:
        if not (self.topic or self.subscription):
            raise ConfigurationError("PubSub(): give a topic to send to, a subscription to receive from, or both.")

    def __str__(self) -> str:
        names = [f"topic {self.topic}"] if self.topic else []
        names += [f"subscription {self.subscription}"] if self.subscription else []
        return "Pub/Sub " + ", ".join(names)


Address = Sqs | PubSub

_FORMS = (
    "sqs://queue",
    "sqs+https://sqs.eu-west-1.amazonaws.com/123456789012/queue",
    "pubsub://projects/project/topics/topic",
    "pubsub://projects/project/subscriptions/subscription",
)
_PUBSUB = re.compile(r"(?:projects/([^/]+)/)?(topics|subscriptions)/([^/]+)")
_OPTIONS = {"sqs": {"region", "endpoint_url", "dead_letters"}, "pubsub": {"endpoint", "dead_letters"}}


def parse(text: str) -> Address:
    """Read an address from one text, as a command line has it.

    `sqs://queue`, or the URL of a queue behind `sqs+`; `pubsub://` and the path of a topic or a subscription, without
    `projects/…/` in the project of the credentials. What else an address takes follows as `?region=…&dead_letters=…`. Raises
    `ConfigurationError`.
    """
    scheme, _, rest = text.partition("://")
    kind, _, url = scheme.partition("+")
    name, _, query = rest.partition("?")
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    if kind not in _OPTIONS or not name:
        raise ConfigurationError(f"{text!r} is not the address of a transport. Write one of: {', '.join(_FORMS)}.")
    unknown = options.keys() - _OPTIONS[kind]
    if unknown:
        raise ConfigurationError(
            f"{text!r}: it can take {', '.join(sorted(_OPTIONS[kind]))}, not {', '.join(sorted(unknown))}."
        )
    if kind == "sqs" and url in ("", "http", "https") and (url or "/" not in name):
        return Sqs(f"{url}://{name}" if url else name, **options)
    path = _PUBSUB.fullmatch(name)
    if kind == "pubsub" and not url and path:
        project, whose, short = path.groups()
        options["topic" if whose == "topics" else "subscription"] = short
        return PubSub(project=project, **options)
    raise ConfigurationError(f"{text!r} is not the address of a transport. Write one of: {', '.join(_FORMS)}.")
