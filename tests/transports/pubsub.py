"""Starting the Pub/Sub service of the tests, and doing with it what an operator, a publisher and a subscriber do.

Tests have it by the fixture `pubsub`: one service for the session, and what a test makes there has separate names.
"""

import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from google.cloud.pubsub_v1 import PublisherClient, SubscriberClient
from google.cloud.pubsub_v1.types import PublisherOptions
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

PROJECT = "leafresh"


class RunningPubSub:
    """One service in a separate process, and the real clients to it."""

    def __init__(self) -> None:
        command = [sys.executable, "-m", "tests.transports.pubsub_server"]
        root = Path(__file__).parents[2]
        self._process = subprocess.Popen(command, cwd=root, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert self._process.stdout is not None
        self.host = f"127.0.0.1:{int(self._process.stdout.readline())}"
        self.publisher = PublisherClient(
            publisher_options=PublisherOptions(enable_message_ordering=True),
            transport=PublisherGrpcTransport(channel=grpc.insecure_channel(self.host)),
        )
        self.subscriber = SubscriberClient(transport=SubscriberGrpcTransport(channel=grpc.insecure_channel(self.host)))

    @property
    def environment(self) -> dict[str, str]:
        """What a process needs in its environment to use this service."""
        return {"PUBSUB_EMULATOR_HOST": self.host, "GOOGLE_CLOUD_PROJECT": PROJECT}

    def topic(self, name: str = "") -> str:
        """Make a topic, and give its name."""
        name = name or f"topic-{uuid.uuid4().hex}"
        self.publisher.create_topic(name=topic_path(name))
        return name

    def subscription(self, topic: str, name: str = "", *, dead_letters: str = "", **policy: Any) -> str:
        """Make a subscription to a topic, and give its name. `policy`: fields of the service's own `Subscription`."""
        name = name or f"sub-{uuid.uuid4().hex}"
        if dead_letters:
            policy["dead_letter_policy"] = {"dead_letter_topic": topic_path(dead_letters), "max_delivery_attempts": 5}
        request = {"name": subscription_path(name), "topic": topic_path(topic), **policy}
        self.subscriber.create_subscription(request=request)
        return name

    def publish(self, topic: str, body: str | bytes, group: str = "", **attributes: str) -> str:
        """Publish one message, and give its id once the service has it."""
        data = body.encode() if isinstance(body, str) else body
        future = self.publisher.publish(topic_path(topic), data, ordering_key=group, **attributes)
        return str(future.result(timeout=10))

    def pull(self, subscription: str, count: int = 1) -> list[Any]:
        """Take `count` messages and acknowledge them. Fails when they do not come."""
        path, found = subscription_path(subscription), list[Any]()
        for _ in range(20):  # of two seconds each, where nothing comes
            answer = self.subscriber.pull(subscription=path, max_messages=count - len(found), timeout=10)
            if answer.received_messages:
                self.subscriber.acknowledge(subscription=path, ack_ids=[one.ack_id for one in answer.received_messages])
            found += [one.message for one in answer.received_messages]
            if len(found) == count:
                return found
        raise AssertionError(f"{subscription} gave {len(found)} of {count} messages: {found}")

    def empty(self, subscription: str) -> bool:
        """Tell whether nothing waits there at the moment."""
        request = {"subscription": subscription_path(subscription), "max_messages": 1, "return_immediately": True}
        with pytest.warns(DeprecationWarning, match="return_immediately"):
            return not self.subscriber.pull(request=request).received_messages

    def left(self, subscription: str) -> int:
        """Count what is not acknowledged, in hand or not."""
        return int(self._tell({"do": "left", "subscription": subscription_path(subscription)}))

    def down(self) -> None:
        """Be unreachable; what is kept stays."""
        self._tell({"do": "down"})

    def up(self) -> None:
        self._tell({"do": "up"})

    def cut(self) -> None:
        """End all streams, as the service does now and then."""
        self._tell({"do": "cut"})

    def misbehave(
        self,
        *,
        lose: float = 0.0,
        duplicate: float = 0.0,
        forget: float = 0.0,
        fail: dict[str, str] | None = None,
        seed: int | None = None,
    ) -> None:
        """From now on lose or duplicate what is published, forget acknowledgements, each with a likelihood, and fail methods
        with a status (`fail={"Publish": "PERMISSION_DENIED"}`). Without arguments it behaves again.
        """
        wanted = {"lose": lose, "duplicate": duplicate, "forget": forget, "fail": fail or {}, "seed": seed}
        self._tell({"do": "set", **wanted})

    def calls(self) -> dict[str, int]:
        """How often each method has been called."""
        return dict(self._tell({"do": "count"}))

    def stop(self) -> None:
        self.publisher.stop()
        self.publisher.transport.close()
        self.subscriber.close()
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()

    def _tell(self, command: dict[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def topic_path(name: str) -> str:
    return f"projects/{PROJECT}/topics/{name}"


def subscription_path(name: str) -> str:
    return f"projects/{PROJECT}/subscriptions/{name}"
