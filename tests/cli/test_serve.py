"""`sidelane serve`: how it starts, and what it says where it cannot."""

import signal

import pytest

from tests.cli.command import Command
from tests.cli.project import Project
from tests.transports.moto import Moto

LANE = "shop.lane:lane"


def test_it_is_wrong_usage_not_to_say_where_offers_come_from_and_replies_go(sidelane: Command) -> None:
    for missing, said in (("--offers", "--replies"), ("--replies", "--offers")):
        found = sidelane("serve", LANE, said, "sqs://somewhere")
        assert found.code == 2
        assert missing in found.err


def test_an_address_that_is_none_is_said_with_the_form_it_should_have(sidelane: Command) -> None:
    said = sidelane("serve", LANE, "--offers", "offers", "--replies", "sqs://replies")
    assert said.code == 3
    assert "'offers' is not an endpoint" in said.err
    assert "sqs://" in said.err


@pytest.mark.system
def test_a_queue_that_is_not_there_ends_it_with_3(moto: Moto, project: Project) -> None:
    worker = project.start("serve", LANE, "--offers", "sqs://nowhere", "--replies", "sqs://nowhere")
    assert worker.exit_code() == 3
    assert "SQS queue nowhere does not exist" in worker.said
    assert "Traceback" not in worker.said


@pytest.mark.system
def test_it_says_what_it_works_on_and_needs_no_store(moto: Moto, project: Project) -> None:
    moto.queue("cli-offers")
    moto.queue("cli-replies")
    addresses = ("--offers", "sqs://cli-offers", "--replies", "sqs://cli-replies")
    worker = project.start("serve", LANE, *addresses, "--concurrency", "7", "--name", "far")
    worker.says("is ready")
    assert "SQS queue cli-offers, 7 at once" in worker.said
    assert "SQS queue cli-replies" in worker.said
    assert "answer, hang, hold" in worker.said
    assert " INFO  far  " in worker.said
    assert "botocore" not in worker.said
    assert not (project.folder / "sidelane.db").exists()
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
