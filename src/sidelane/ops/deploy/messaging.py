"""Messaging: shell commands that create the queues, topics and permissions of every endpoint that lanes declare."""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import urlsplit

from sidelane.app import Sidelane
from sidelane.callbacks.message_callback import MessageCallback
from sidelane.external.task import external_tasks
from sidelane.ops.deploy.facts import DeployFile, ServiceFacts
from sidelane.transports.contract import Endpoint
from sidelane.transports.endpoints import PubSub, Sqs

Verb = Literal["send", "receive"]

DELIVERIES = 5
"""Deliveries of a message without an acknowledgement, after which it becomes a dead letter. A draining worker returns messages."""

RETENTION = 14 * 86_400
"""Seconds for which SQS keeps messages and dead letters, its maximum."""

SEND = ("sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:SendMessage")
RECEIVE = (
    "sqs:GetQueueUrl", "sqs:GetQueueAttributes", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility",
)  # fmt: skip
ACTIONS: dict[Verb, tuple[str, ...]] = {"send": SEND, "receive": RECEIVE}

_VARIABLE = re.compile("\ue000([A-Z]+)\ue001")

REGION, ACCOUNT, PROJECT = "\ue000REGION\ue001", "\ue000ACCOUNT\ue001", "\ue000PROJECT\ue001"
"""Variables of the script within texts, between characters that no name contains. `_shell` writes them."""


@dataclass(frozen=True, slots=True)
class Use:
    """How an endpoint is used: what the service does with it, what an external program does, and for which declaration."""

    endpoint: Endpoint
    verb: Verb  # of the service
    external: Verb
    purpose: str


def messaging_files(service: ServiceFacts) -> list[DeployFile]:
    """Return one shell script."""
    uses = [use for lane in service.distinct_lanes for use in uses_of(lane)]
    sqs = [use for use in uses if isinstance(use.endpoint, Sqs)]
    pubsub = [use for use in uses if isinstance(use.endpoint, PubSub)]
    lines = [
        "#!/bin/sh",
        f"# Queues and topics of {service.name}, written by `sidelane deploy messaging`. Read it before you run it.",
        "# It creates what is missing, and may run again.",
        "set -eu",
        "",
    ]
    if not uses:
        lines.append("# The lanes declare no endpoints, so there is nothing to create.")
    if sqs:
        lines += _sqs(service, sqs)
    if pubsub:
        lines += _pubsub(service, pubsub)
    return [DeployFile("messaging.sh", "\n".join([*lines, ""]))]


def uses_of(lane: Sidelane) -> Iterator[Use]:
    """Yield the uses of the endpoints that a lane declares: consumers, external tasks, and callbacks of tasks.

    Callbacks of single calls are not declared, so they are unknown.
    """
    for use in _all_uses(lane):
        if isinstance(use.endpoint, Sqs | PubSub):
            yield use


def _all_uses(lane: Sidelane) -> Iterator[Use]:
    for consumer in lane.consumers:
        yield Use(consumer.endpoint, "receive", "send", f"consumer {consumer.name}")
    for task in external_tasks(lane.registry):
        yield Use(task.routing.send_to, "send", "receive", f"jobs of {task.name}")
        if task.routing.replies_from is not None:
            yield Use(task.routing.replies_from, "receive", "send", f"replies of {task.name}")
    for name, each in lane.registry.tasks.items():
        for callback in each.policy.callbacks if name == each.name else ():
            if isinstance(callback, MessageCallback):
                yield Use(callback.to, "send", "receive", f"callbacks of {name}")


# --- SQS --------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Queue:
    """A queue of SQS. Region and account may be variables of the script."""

    name: str
    region: str
    account: str
    endpoint_url: str | None = None

    @property
    def arn(self) -> str:
        return f"arn:aws:sqs:{self.region}:{self.account}:{self.name}"

    @property
    def options(self) -> str:
        url = f" --endpoint-url {shlex.quote(self.endpoint_url)}" if self.endpoint_url else ""
        return f"--region {_shell(self.region)}{url}"


def _sqs(service: ServiceFacts, uses: Sequence[Use]) -> Iterator[str]:
    yield "# --- Amazon SQS ---"
    yield 'REGION="${AWS_REGION:-$(aws configure get region)}"'
    yield 'ACCOUNT="$(aws sts get-caller-identity --query Account --output text)"'
    yield "# Roles that get permissions: that of API and workers, and that of external programs. Leave one empty to give none."
    yield 'ROLE="${ROLE-}"'
    yield 'EXTERNAL_ROLE="${EXTERNAL_ROLE-}"'
    statements: dict[str, list[dict[str, Any]]] = {"ROLE": [], "EXTERNAL_ROLE": []}
    for queue, group in _grouped((_queue(use.endpoint), use) for use in uses if isinstance(use.endpoint, Sqs)):
        dead = _dead_letters(queue, group)
        yield f"\n# {_one_line(queue.name)}: {_one_line(', '.join(use.purpose for use in group))}"
        yield from _create(dead, {"MessageRetentionPeriod": str(RETENTION)})
        redrive = json.dumps({"deadLetterTargetArn": dead.arn, "maxReceiveCount": str(DELIVERIES)}, ensure_ascii=False)
        yield from _create(queue, {"MessageRetentionPeriod": str(RETENTION), "RedrivePolicy": redrive})
        for role, verbs in (
            ("ROLE", {use.verb for use in group}),
            ("EXTERNAL_ROLE", {use.external for use in group}),
        ):
            actions = [action for verb in sorted(verbs) for action in ACTIONS[verb]]
            statements[role].append(_statement(queue, actions))
            if "receive" in verbs:
                statements[role].append(_statement(dead, SEND))
    for role, wanted in statements.items():
        document = json.dumps({"Version": "2012-10-17", "Statement": wanted}, ensure_ascii=False)
        policy = shlex.quote(f"{service.name}-{'external-' if role == 'EXTERNAL_ROLE' else ''}messaging")
        yield f'\nif [ -n "${role}" ]; then'
        names = f'--role-name "${role}" --policy-name {policy}'
        yield f"    aws iam put-role-policy {names} --policy-document {_shell(document)}"
        yield "fi"


def _create(queue: _Queue, attributes: dict[str, str]) -> Iterator[str]:
    """Yield commands that create a queue, and set its attributes if it existed."""
    fixed = {"FifoQueue": "true"} if queue.name.endswith(".fifo") else {}
    name = f"--queue-name {shlex.quote(queue.name)}"
    create = f" --attributes {_shell(json.dumps(fixed))}" if fixed else ""
    yield f'url="$(aws sqs create-queue {queue.options} {name}{create} --query QueueUrl --output text)" \\'
    yield f'    || url="$(aws sqs get-queue-url {queue.options} {name} --query QueueUrl --output text)"'
    document = _shell(json.dumps(attributes, ensure_ascii=False))
    yield f'aws sqs set-queue-attributes {queue.options} --queue-url "$url" --attributes {document}'


def _statement(queue: _Queue, actions: Iterable[str]) -> dict[str, Any]:
    return {"Effect": "Allow", "Action": list(dict.fromkeys(actions)), "Resource": queue.arn}


def _dead_letters(queue: _Queue, uses: Sequence[Use]) -> _Queue:
    """Return the dead-letter queue: the declared one, else one named after the queue."""
    endpoints = [use.endpoint for use in uses if isinstance(use.endpoint, Sqs)]
    declared = next((each.dead_letters for each in endpoints if each.dead_letters), None)
    if declared is not None:
        return _named(declared, queue)
    name = queue.name.removesuffix(".fifo")
    return _Queue(f"{name[:70]}-dead{queue.name[len(name) :]}", queue.region, queue.account, queue.endpoint_url)


def _queue(endpoint: Sqs) -> _Queue:
    default = _Queue("", endpoint.region or REGION, ACCOUNT, endpoint.endpoint_url)
    return _named(endpoint.queue, default)


def _named(text: str, default: _Queue) -> _Queue:
    """Return the queue with this name or URL. A URL has region and account."""
    if "://" not in text:
        return _Queue(text, default.region, default.account, default.endpoint_url)
    parts = urlsplit(text)
    *_, account, name = ["", "", *parts.path.strip("/").split("/")]
    host = (parts.hostname or "").split(".")
    amazon = "amazonaws" in host
    region = host[1] if amazon and host[0] == "sqs" and len(host) > 2 else default.region
    endpoint = default.endpoint_url if amazon else f"{parts.scheme}://{parts.netloc}"
    return _Queue(name, region, account if account.isdecimal() else default.account, endpoint)


# --- Pub/Sub ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Name:
    """A topic or a subscription. `project` may be a variable of the script."""

    name: str
    project: str

    @property
    def topic_path(self) -> str:
        """The full path of a topic, as one word of the shell."""
        return _shell(f"projects/{self.project}/topics/{self.name}")

    def __str__(self) -> str:
        return f"{shlex.quote(self.name)} --project={_shell(self.project)}"


def _pubsub(service: ServiceFacts, uses: Sequence[Use]) -> Iterator[str]:
    yield "\n# --- Google Pub/Sub ---"
    yield 'PROJECT="${GOOGLE_CLOUD_PROJECT:-$(gcloud config get-value project)}"'
    yield "# Service accounts that get permissions: that of API and workers, and that of external programs. Empty: none."
    yield 'ACCOUNT_EMAIL="${ACCOUNT_EMAIL-}"'
    yield 'EXTERNAL_EMAIL="${EXTERNAL_EMAIL-}"'
    yield from _FUNCTIONS.splitlines()
    for use in uses:
        endpoint = use.endpoint
        if not isinstance(endpoint, PubSub):
            continue
        yield f"\n# {_one_line(str(endpoint))}: {_one_line(use.purpose)}"
        if use.verb == "send" and endpoint.topic is not None:
            topic = _name(endpoint.topic, endpoint)
            yield f"topic {topic}"
            yield from _grant("topics", topic, "roles/pubsub.publisher", "ACCOUNT_EMAIL")
            yield "# Messages are kept only if the topic has a subscription, which the receiver creates."
        if use.verb == "receive" and endpoint.subscription is not None:
            yield from _subscription(endpoint, endpoint.subscription)


def _subscription(endpoint: PubSub, text: str) -> Iterator[str]:
    subscription = _name(text, endpoint)
    if endpoint.topic is not None:
        topic = _name(endpoint.topic, endpoint)
        yield f"topic {topic}"
        source = topic.topic_path
        yield from _grant("topics", topic, "roles/pubsub.publisher", "EXTERNAL_EMAIL")
    else:
        variable = f"TOPIC_OF_{re.sub(r'[^A-Z0-9]', '_', subscription.name.upper())}"
        yield "# The code names the subscription alone. The topic is that of the sender, by its full path or its name."
        yield f': "${{{variable}:?set it to the topic that the sender publishes to}}"'
        source = f'"${variable}"'
    dead = (
        _name(endpoint.dead_letters, endpoint)
        if endpoint.dead_letters
        else _Name(f"{subscription.name.removesuffix('-sub')}-dead", subscription.project)
    )
    dead_path = dead.topic_path
    yield f"topic {dead}"
    yield "# A topic without a subscription keeps no messages."
    yield f"subscription {_Name(f'{dead.name}-sub', dead.project)} --topic={dead_path} --message-retention-duration=31d"
    yield (
        f"subscription {subscription} --topic={source} --message-retention-duration=7d --dead-letter-topic={dead_path} "
        f"--max-delivery-attempts={DELIVERIES}"
    )
    yield from _grant("subscriptions", subscription, "roles/pubsub.subscriber", "ACCOUNT_EMAIL")
    yield from _grant("subscriptions", subscription, "roles/pubsub.viewer", "ACCOUNT_EMAIL")
    yield from _grant("topics", dead, "roles/pubsub.publisher", "ACCOUNT_EMAIL")
    yield "# Without these two, Google moves no message to the dead letters."
    agent = f'"$(agent {_shell(subscription.project)})"'
    yield f"grant topics {dead} --role=roles/pubsub.publisher --member={agent}"
    yield f"grant subscriptions {subscription} --role=roles/pubsub.subscriber --member={agent}"


_FUNCTIONS = """\
topic() { gcloud pubsub topics describe "$@" >/dev/null 2>&1 || gcloud pubsub topics create "$@"; }
subscription() { gcloud pubsub subscriptions describe "$1" "$2" >/dev/null 2>&1 || gcloud pubsub subscriptions create "$@"; }
grant() { kind="$1"; shift; gcloud pubsub "$kind" add-iam-policy-binding "$@" >/dev/null; }
agent() {  # Pub/Sub's own service account
    number="$(gcloud projects describe "$1" --format='value(projectNumber)')"
    echo "serviceAccount:service-$number@gcp-sa-pubsub.iam.gserviceaccount.com"
}"""


def _grant(kind: str, name: _Name, role: str, variable: str) -> Iterator[str]:
    yield f'[ -z "${variable}" ] || grant {kind} {name} --role={role} --member="serviceAccount:${variable}"'


def _name(text: str, endpoint: PubSub) -> _Name:
    """Return a topic or a subscription by its name or its full path."""
    path = re.fullmatch(r"projects/([^/]+)/(?:topics|subscriptions)/(.+)", text)
    if path:
        return _Name(path[2], path[1])
    return _Name(text, endpoint.project or PROJECT)


# --- shell ------------------------------------------------------------------------------------------------------------


def _grouped(pairs: Iterable[tuple[_Queue, Use]]) -> list[tuple[_Queue, list[Use]]]:
    groups: dict[_Queue, list[Use]] = {}
    for queue, use in pairs:
        groups.setdefault(queue, []).append(use)
    return list(groups.items())


def _shell(text: str) -> str:
    """Return a text as one word of a shell, in which the shell replaces nothing but the script's own variables."""
    parts = _VARIABLE.split(text)  # texts and names of variables in turn
    quoted = [f'"${part}"' if number % 2 else shlex.quote(part) for number, part in enumerate(parts) if part]
    return "".join(quoted) or "''"


def _one_line(text: str) -> str:
    return re.sub(r"[\0-\x1f\x7f]", "?", text)
