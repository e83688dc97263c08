"""`sidelane remote-worker`: start, options and errors."""

import signal

import pytest

from tests.cli.command import Command
from tests.cli.project import Project
from tests.transports.moto import Moto

LANE = "shop.lane:lane"


def test_both_endpoints_are_required(sidelane: Command) -> None:
    for missing, given in (("--receive-from", "--reply-to"), ("--reply-to", "--receive-from")):
        result = sidelane("remote-worker", LANE, given, "sqs://somewhere")
        assert result.exit_code == 2
        assert missing in result.stderr


def test_an_invalid_endpoint_is_explained(sidelane: Command) -> None:
    result = sidelane("remote-worker", LANE, "--receive-from", "jobs", "--reply-to", "sqs://replies")
    assert result.exit_code == 3
    assert "'jobs' is not an endpoint" in result.stderr
    assert "sqs://" in result.stderr


@pytest.mark.system
def test_a_missing_queue_exits_with_3(moto: Moto, project: Project) -> None:
    worker = project.start("remote-worker", LANE, "--receive-from", "sqs://nowhere", "--reply-to", "sqs://nowhere")
    assert worker.exit_code() == 3
    assert "SQS queue nowhere does not exist" in worker.output
    assert "Traceback" not in worker.output


@pytest.mark.system
def test_a_remote_worker_logs_its_setup_and_needs_no_store(moto: Moto, project: Project) -> None:
    moto.queue("cli-jobs")
    moto.queue("cli-replies")
    endpoints = ("--receive-from", "sqs://cli-jobs", "--reply-to", "sqs://cli-replies")
    worker = project.start("remote-worker", LANE, *endpoints, "--concurrency", "7", "--name", "far")
    worker.wait_for("is ready")
    assert "SQS queue cli-jobs, concurrency 7" in worker.output
    assert "SQS queue cli-replies" in worker.output
    assert "answer, hang, hold" in worker.output
    assert " INFO  far  " in worker.output
    assert "botocore" not in worker.output
    assert not (project.folder / "sidelane.db").exists()
    worker.signal(signal.SIGTERM)
    assert worker.exit_code() == 0
