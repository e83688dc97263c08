"""Endpoints of SQS and Pub/Sub: values that name where messages are sent to or received from."""

import re
from contextlib import AbstractContextManager
from dataclasses import KW_ONLY, dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, ClassVar, Literal
from urllib.parse import parse_qsl

from sidelane.model.errors import ConfigurationError, MissingExtra
from sidelane.telemetry.port import Telemetry
from sidelane.telemetry.tracer import Span, SpanKind, Tracer
from sidelane.transports.contract import Endpoint, Transport


@dataclass(frozen=True, slots=True)
class Sqs:
    """A queue of Amazon SQS, by name or URL.

    Region, credentials and endpoint URL default to those of the AWS SDKs (`AWS_REGION`, `AWS_ENDPOINT_URL`, profiles, …). Messages
    that cannot be read go to `dead_letters`, a queue's name or URL. The default is the dead-letter queue of the queue's redrive
    policy. Raises `ConfigurationError`.
    """

    queue: str
    _: KW_ONLY
    region: str | None = None
    endpoint_url: str | None = None
    dead_letters: str | None = None
    kind: Literal["sqs"] = "sqs"

    def __post_init__(self) -> None:
        if not self.queue:
            raise ConfigurationError("Sqs(queue=''): queue is the name or the URL of a queue.")

    def __str__(self) -> str:
        return f"SQS queue {self.queue}"

    can_send = can_receive = True

    max_visibility: ClassVar[int] = 12 * 3600
    """Maximum seconds from its receipt that a message can be invisible, however often it is extended."""

    def require_driver(self) -> None:
        _require_package("aiobotocore", self)

    def open(self, telemetry: Telemetry) -> Transport:
        return _open("sidelane.transports.sqs.transport", "SqsTransport", self, telemetry)


@dataclass(frozen=True, slots=True, kw_only=True)
class PubSub:
    """A topic of Google Pub/Sub to send to, a subscription to receive from, or both, by name or full path.

    `project` defaults to `GOOGLE_CLOUD_PROJECT`, else to the project of the credentials. `PUBSUB_EMULATOR_HOST` is supported.
    `endpoint` is a regional endpoint, e.g. `europe-west1-pubsub.googleapis.com`. Messages of a group keep their order if they are
    sent through the same endpoint. Messages that cannot be read go to `dead_letters`, a topic. The default is the topic of the
    subscription's dead-letter policy. Raises `ConfigurationError`.
    """

    topic: str | None = None
    subscription: str | None = None
    project: str | None = None
    endpoint: str | None = None
    dead_letters: str | None = None
    kind: Literal["pubsub"] = "pubsub"

    def __post_init__(self) -> None:
        if not (self.topic or self.subscription):
            raise ConfigurationError("PubSub(): add topic=… to send, subscription=… to receive, or both.")

    def __str__(self) -> str:
        names = [f"topic {self.topic}"] if self.topic else []
        names += [f"subscription {self.subscription}"] if self.subscription else []
        return "Pub/Sub " + ", ".join(names)

    @property
    def can_send(self) -> bool:
        return self.topic is not None

    @property
    def can_receive(self) -> bool:
        return self.subscription is not None

    def require_driver(self) -> None:
        _require_package("google", self)

    def open(self, telemetry: Telemetry) -> Transport:
        return _open("sidelane.transports.pubsub.transport", "PubSubTransport", self, telemetry)


StoredEndpoint = Sqs | PubSub
"""The kinds of endpoints that callbacks can be sent to. A job stores its callbacks as JSON, and only these kinds can be parsed."""

_FORMS = (
    "sqs://queue",
    "sqs+https://sqs.eu-west-1.amazonaws.com/123456789012/queue",
    "pubsub://projects/project/topics/topic",
    "pubsub://projects/project/subscriptions/subscription",
)
_PUBSUB = re.compile(r"(?:projects/([^/]+)/)?(topics|subscriptions)/([^/]+)")
_SYSTEMS = {"sqs": "aws_sqs", "pubsub": "gcp_pubsub"}  # their names in the conventions of OpenTelemetry
_OPTIONS = {"sqs": {"region", "endpoint_url", "dead_letters"}, "pubsub": {"endpoint", "dead_letters"}}


def parse(text: str) -> StoredEndpoint:
    """Parse an endpoint from one text, as on a command line.

    The text is `sqs://queue`, `sqs+` and the URL of a queue, or `pubsub://` and the path of a topic or a subscription. Without
    `projects/…/`, the default project is used, as for `PubSub`. Other fields follow as `?region=…&dead_letters=…`. Raises
    `ConfigurationError`.
    """
    scheme, _, rest = text.partition("://")
    kind, _, url = scheme.partition("+")
    name, _, query = rest.partition("?")
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    if kind not in _OPTIONS or not name:
        raise ConfigurationError(f"{text!r} is not an endpoint. Write one of: {', '.join(_FORMS)}.")
    unknown = options.keys() - _OPTIONS[kind]
    if unknown:
        raise ConfigurationError(
            f"{text!r}: {', '.join(sorted(_OPTIONS[kind]))} are allowed here, not {', '.join(sorted(unknown))}."
        )
    if kind == "sqs" and url in ("", "http", "https") and (url or "/" not in name):
        return Sqs(f"{url}://{name}" if url else name, **options)
    path = _PUBSUB.fullmatch(name)
    if kind == "pubsub" and not url and path:
        project, collection, short_name = path.groups()
        options["topic" if collection == "topics" else "subscription"] = short_name
        return PubSub(project=project, **options)
    raise ConfigurationError(f"{text!r} is not an endpoint. Write one of: {', '.join(_FORMS)}.")


def sending(tracer: Tracer, endpoint: Endpoint) -> AbstractContextManager[Span]:
    """Record a message to an endpoint within the block, which sends it with the `traceparent` of the span."""
    attributes = {
        "messaging.system": _SYSTEMS.get(endpoint.kind, "sidelane"),
        "messaging.operation.name": "send",
        "messaging.operation.type": "send",
        "messaging.destination.name": str(endpoint),
    }
    return tracer.span(f"send {endpoint}", kind=SpanKind.PRODUCER, attributes=attributes)


def require_sendable(endpoint: Endpoint) -> None:
    """Raise `ConfigurationError` if no messages can be sent to an endpoint."""
    if not getattr(endpoint, "can_send", False):  # or it is no endpoint at all, e.g. a text
        raise ConfigurationError(f"{endpoint} cannot be sent to: messages are sent to a queue or a topic.")


def require_receivable(endpoint: Endpoint) -> None:
    """Raise `ConfigurationError` if no messages can be received from an endpoint."""
    if not getattr(endpoint, "can_receive", False):
        raise ConfigurationError(
            f"{endpoint} cannot be received from: messages are received from a queue or a subscription."
        )


def missing_driver(endpoint: Endpoint) -> MissingExtra:
    """Return the error of an endpoint whose driver is not installed."""
    return MissingExtra(f"{endpoint} needs a driver: pip install 'sidelane[{endpoint.kind}]'.")


def _require_package(package: str, endpoint: Endpoint) -> None:
    if find_spec(package) is None:
        raise missing_driver(endpoint)


def _open(module: str, transport: str, endpoint: Endpoint, telemetry: Telemetry) -> Transport:
    """Import a transport only when it is needed, because its driver is optional and slow to import."""
    try:
        opened: Transport = getattr(import_module(module), transport)(endpoint, telemetry)
    except ModuleNotFoundError as error:
        raise missing_driver(endpoint) from error
    return opened
