"""Script of queues and topics: run by a shell, against real servers, with names that a shell would interpret."""

import json
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from sidelane import Message, MessageCallback, PubSub, Sidelane, Sqs
from sidelane.ops.deploy.facts import ServiceFacts
from sidelane.ops.deploy.messaging import messaging_files
from tests.ops.deploy.cloud_commands import gcloud_log, install, options
from tests.ops.deploy.facts import facts
from tests.transports.moto import Moto
from tests.transports.pubsub import RunningPubSub, subscription_path, topic_path

SUBSCRIPTION = PubSub(subscription="members-feedback-sub")


def script(folder: Path, lane: Sidelane) -> str:
    service = facts(folder)
    changed = ServiceFacts(name="shop", description=service.description, lanes={"chat": lane, "rest": lane})
    (file,) = messaging_files(changed)
    assert file.name == "messaging.sh"
    return file.text


def run(text: str, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["/bin/sh", "-c", text], env=environment, capture_output=True, text=True, check=False)


def consume(message: Message) -> None:
    """Ignore a message."""


def attributes(moto: Moto, name: str) -> dict[str, str]:
    url = moto.sqs.get_queue_url(QueueName=name)["QueueUrl"]
    found: dict[str, str] = moto.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
    return found


@pytest.mark.long  # each command is a process
@pytest.mark.row("R23")
def test_queues_get_dead_letters_and_roles_get_what_they_need(tmp_path: Path, moto: Moto) -> None:
    import boto3

    lane = Sidelane()
    lane.external_task(
        "audio.analyse", input=str, result=str, send_to=Sqs("deploy-in"),
        replies_from=Sqs("deploy-out.fifo", dead_letters="deploy-bad.fifo"),
    )  # fmt: skip
    lane.consumer(Sqs("https://sqs.eu-west-1.amazonaws.com/123456789012/deploy-requests"))(consume)
    environment = {**install(tmp_path / "bin"), **moto.environment, "ROLE": "shop", "EXTERNAL_ROLE": "analysis"}
    iam = boto3.client(
        "iam", region_name="eu-west-1", endpoint_url=moto.url, aws_access_key_id="x", aws_secret_access_key="x"
    )
    for role in ("shop", "analysis"):
        iam.create_role(RoleName=role, AssumeRolePolicyDocument="{}")
    text = script(tmp_path, lane)
    for _ in range(2):  # it may run again
        done = run(text, environment)
        assert (done.returncode, done.stderr) == (0, "")
    for name, dead in (
        ("deploy-in", "deploy-in-dead"), ("deploy-out.fifo", "deploy-bad.fifo"), ("deploy-requests", "deploy-requests-dead"),
    ):  # fmt: skip
        found = attributes(moto, name)
        redrive = json.loads(found["RedrivePolicy"])
        assert redrive["deadLetterTargetArn"] == attributes(moto, dead)["QueueArn"]
        assert int(redrive["maxReceiveCount"]) >= 3
        assert found["MessageRetentionPeriod"] == "1209600"
    actions = {
        role: allowed(iam.get_role_policy(RoleName=role, PolicyName=policy)["PolicyDocument"])
        for role, policy in (("shop", "shop-messaging"), ("analysis", "shop-external-messaging"))
    }
    arn = attributes(moto, "deploy-in")["QueueArn"]
    assert arn == "arn:aws:sqs:eu-west-1:123456789012:deploy-in"
    assert "sqs:SendMessage" in actions["shop"][arn]
    assert "sqs:ReceiveMessage" not in actions["shop"][arn]
    assert {"sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility"} <= actions["analysis"][arn]
    assert "sqs:SendMessage" not in actions["analysis"][arn]
    out, bad = (attributes(moto, name)["QueueArn"] for name in ("deploy-out.fifo", "deploy-bad.fifo"))
    assert "sqs:ReceiveMessage" in actions["shop"][out]
    assert "sqs:SendMessage" in actions["shop"][bad]  # unreadable messages
    assert "sqs:SendMessage" in actions["analysis"][out]


def allowed(document: dict[str, Any]) -> dict[str, set[str]]:
    return {each["Resource"]: set(each["Action"]) for each in document["Statement"] if each["Effect"] == "Allow"}


@pytest.mark.row("R14")
def test_topics_and_subscriptions_are_those_of_a_real_client(tmp_path: Path, pubsub: RunningPubSub) -> None:
    lane = Sidelane()
    lane.consumer(SUBSCRIPTION)(consume)

    @lane.task(callback=MessageCallback(to=PubSub(topic="members-result-topic")))
    async def feedback() -> None: ...

    environment = {**install(tmp_path / "bin"), "ACCOUNT_EMAIL": "shop@leafresh.iam.gserviceaccount.com"}
    text = script(tmp_path, lane)
    missing = run(text, environment)
    assert missing.returncode
    assert "TOPIC_OF_MEMBERS_FEEDBACK_SUB: set it to the topic that the sender publishes to" in missing.stderr
    environment |= {"TOPIC_OF_MEMBERS_FEEDBACK_SUB": topic_path(pubsub.topic("members-feedback-topic"))}
    for _ in range(2):  # it may run again
        done = run(text, environment)
        assert (done.returncode, done.stderr) == (0, "")
    log = gcloud_log(environment)
    apply(pubsub, [each for each in log if each[2] == "create"])
    subscription = pubsub.subscriber.get_subscription(subscription=subscription_path("members-feedback-sub"))
    assert subscription.topic == topic_path("members-feedback-topic")
    assert subscription.dead_letter_policy.dead_letter_topic == topic_path("members-feedback-dead")
    assert pubsub.subscriber.get_subscription(subscription=subscription_path("members-feedback-dead-sub"))
    roles = {
        (each[1], each[3], *(options(each[5:])[name] for name in ("role", "member")))
        for each in log
        if "add-iam" in each[2]
    }
    service = "serviceAccount:shop@leafresh.iam.gserviceaccount.com"
    google = "serviceAccount:service-4711@gcp-sa-pubsub.iam.gserviceaccount.com"
    assert {
        ("topics", "members-result-topic", "roles/pubsub.publisher", service),
        ("subscriptions", "members-feedback-sub", "roles/pubsub.subscriber", service),
        ("subscriptions", "members-feedback-sub", "roles/pubsub.viewer", service),
        ("topics", "members-feedback-dead", "roles/pubsub.publisher", service),
        ("topics", "members-feedback-dead", "roles/pubsub.publisher", google),
        ("subscriptions", "members-feedback-sub", "roles/pubsub.subscriber", google),
    } == roles


def apply(pubsub: RunningPubSub, created: Sequence[Sequence[str]]) -> None:
    """Create what `gcloud` was asked to create."""
    for _, kind, _, name, *rest in created:
        wanted = options(list(rest))
        assert wanted.pop("project") == "leafresh"
        if kind == "topics":
            pubsub.topic(name)
            continue
        dead = wanted.get("dead-letter-topic")
        policy = {"dead_letter_policy": {"dead_letter_topic": dead, "max_delivery_attempts": 5}} if dead else {}
        request = {"name": subscription_path(name), "topic": wanted["topic"], **policy}
        pubsub.subscriber.create_subscription(request=request)


def test_names_are_never_read_by_the_shell(tmp_path: Path) -> None:
    lane = Sidelane()
    name = "a'; touch hacked; $(touch hacked) `touch hacked` ${HOME} \"b\n# \\"
    lane.consumer(Sqs(name, region="eu'; touch hacked"), name="x\ntouch hacked")(consume)
    lane.consumer(PubSub(subscription=name, topic=name, project=name), name="y")(consume)
    environment = {**install(tmp_path / "bin"), "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "ROLE": "r"}
    (tmp_path / "bin" / "aws").write_text('#!/bin/sh\nprintf "%s\\0" "$@" >> "$AWS_LOG"; echo url\n')
    environment |= {"AWS_LOG": str(tmp_path / "aws.log"), "HOME": "/root"}
    done = subprocess.run(
        ["/bin/sh", "-c", script(tmp_path, lane)],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not (tmp_path / "hacked").exists()
    assert (tmp_path / "aws.log").read_text().split("\0").count(name) == 1  # create-queue
    assert ["pubsub", "topics", "create", name, f"--project={name}"] in gcloud_log(environment)


def test_lane_without_endpoints_needs_nothing(tmp_path: Path) -> None:
    text = script(tmp_path, Sidelane())
    assert "nothing to create" in text
    assert run(text, {"PATH": ""}).returncode == 0
