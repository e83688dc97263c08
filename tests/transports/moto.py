"""A server that speaks SQS and S3, as a separate process: moto_server. Tests have it by the fixture `moto`."""

import json
import os
import socket
import subprocess
import sys
import time
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import boto3


class Moto:
    """One server process, and what an operator does there."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self._port: int = probe.getsockname()[1]
        self._log = folder / "moto.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    @property
    def environment(self) -> dict[str, str]:
        """What a process must have in its environment so that its AWS clients talk to this server."""
        return {
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_REGION": "eu-west-1",
            "AWS_DEFAULT_REGION": "eu-west-1",
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
        }

    @cached_property
    def sqs(self) -> Any:
        """A client of boto3, for what is around a test; the code under test has its own."""
        environment = self.environment
        return boto3.client(
            "sqs",
            region_name=environment["AWS_REGION"],
            endpoint_url=self.url,
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )

    def start(self) -> Self:
        """Start it, and wait until it listens."""
        command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(self._port)]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **self.environment})
        until = time.monotonic() + 30
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except OSError:
                assert time.monotonic() < until, f"moto_server did not start: {self._log.read_text()}"
                assert self._process.poll() is None, f"moto_server ended: {self._log.read_text()}"
                time.sleep(0.05)
            else:
                return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()  # what waits in a long poll would keep it
            self._process.wait(10)

    def queue(self, name: str = "", *, fifo: bool = False, dead_letters: str | None = None, losses: int = 100) -> str:
        """Make a queue, and give its URL. `dead_letters` is the URL of the queue for what was received `losses` times."""
        attributes: dict[str, str] = {"FifoQueue": "true"} if fifo else {}
        if dead_letters is not None:
            asked = self.sqs.get_queue_attributes(QueueUrl=dead_letters, AttributeNames=["QueueArn"])
            policy = {"deadLetterTargetArn": asked["Attributes"]["QueueArn"], "maxReceiveCount": losses}
            attributes["RedrivePolicy"] = json.dumps(policy)
        name = (name or f"queue-{uuid4().hex}") + (".fifo" if fifo else "")
        url: str = self.sqs.create_queue(QueueName=name, Attributes=attributes)["QueueUrl"]
        return url

    def requests(self) -> int:
        """Count the requests it has answered so far."""
        return self._log.read_text().count('" 200 ')

    def bucket(self, name: str) -> None:
        """Make a bucket."""
        environment = self.environment
        s3 = boto3.client(
            "s3", region_name=environment["AWS_REGION"], endpoint_url=self.url,
            aws_access_key_id=environment["AWS_ACCESS_KEY_ID"], aws_secret_access_key=environment["AWS_SECRET_ACCESS_KEY"],
        )  # fmt: skip
        s3.create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": environment["AWS_REGION"]})

    def count(self, url: str) -> int:
        """Count the messages in a queue, held ones too."""
        names = ["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"]
        asked = self.sqs.get_queue_attributes(QueueUrl=url, AttributeNames=names)["Attributes"]
        return sum(int(asked[name]) for name in names)
