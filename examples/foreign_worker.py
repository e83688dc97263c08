"""A worker for offers of jobs over SQS, with nothing of Sidelane in it: `python foreign_worker.py OFFERS_URL REPLIES_URL`."""

import json
import sys
import uuid
from typing import Any

import boto3

OFFERS, REPLIES = sys.argv[1:]
sqs = boto3.client("sqs")


def reply(offer: dict[str, Any], kind: str, **said: object) -> None:
    """Send what became of an offer, so far or for good: a CloudEvent that shows the offer's token."""
    event = {
        "specversion": "1.0", "id": str(uuid.uuid4()), "source": "/foreign-worker", "type": f"sidelane.job.{kind}",
        "data": {"job": offer["job"], "token": offer["token"], **said},
    }  # fmt: skip
    sqs.send_message(QueueUrl=REPLIES, MessageBody=json.dumps(event))


def analyse(offer: dict[str, Any]) -> dict[str, Any]:
    """Do the work. Events have ordinals, from 1: what is sent twice counts once."""
    reply(offer, "events", ordinal=1, events=[{"name": "progress", "data": {"percent": 50, "message": "listening"}}])
    return {"score": len(offer["input"]["audio"])}


while True:
    asked = sqs.receive_message(QueueUrl=OFFERS, WaitTimeSeconds=20, VisibilityTimeout=60)
    for message in asked.get("Messages", []):
        offer = json.loads(message["Body"])["data"]  # job, task, attempt, input, timeout, token
        try:
            reply(offer, "completed", result=analyse(offer))
        except (KeyError, TypeError) as error:
            reply(offer, "completed", problem={"status": 422, "title": "Bad input", "detail": repr(error)}, retry=False)
        sqs.delete_message(QueueUrl=OFFERS, ReceiptHandle=message["ReceiptHandle"])  # once its reply is sent
