"""A worker without our package, as one in any language may be: counts the words of texts that an SQS queue offers."""

import json
import os
import time
from typing import Any
from urllib import error, request

import boto3

sqs = boto3.client("sqs")
offers, results = os.environ["OFFERS"], os.environ.get("RESULTS")  # URLs of queues; without RESULTS it answers by HTTP
hold = int(os.environ.get("HOLD", "60"))  # seconds; an offer comes again when its worker has not answered by then


def answer(offer: dict[str, Any], kind: str, **said: object) -> None:
    data = json.dumps({"job": offer["job"], "token": offer["token"], **said})
    if results:
        event = {"specversion": "1.0", "id": os.urandom(8).hex(), "source": "/words", "type": f"sidelane.job.{kind}"}
        sqs.send_message(QueueUrl=results, MessageBody=f'{json.dumps(event)[:-1]}, "data": {data}}}')
        return
    url = offer["complete_url" if kind == "completed" else "events_url"]
    headers = {"Authorization": f"Bearer {offer['token']}", "Content-Type": "application/json"}
    try:
        request.urlopen(request.Request(url, data.encode(), headers))  # noqa: S310 - the URL is our own service's
    except error.HTTPError as refused:
        if refused.code != 409:  # which is: too late, the job is no longer this worker's
            raise


while True:
    for message in sqs.receive_message(QueueUrl=offers, WaitTimeSeconds=20, VisibilityTimeout=hold).get("Messages", []):
        offer = json.loads(message["Body"])["data"]
        print("counting for", offer["job"], flush=True)
        answer(offer, "events", ordinal=1, events=[{"name": "progress", "data": {"percent": 10}}])
        words = len(offer["input"]["text"].split())
        time.sleep(offer["input"]["seconds"])  # as long as real work takes
        end = {"result": {"words": words}} if words else {"problem": {"status": 422, "title": "No words"}}
        answer(offer, "completed", ordinal=2, **end)  # the events before it may be on their way still
        sqs.delete_message(QueueUrl=offers, ReceiptHandle=message["ReceiptHandle"])  # only now: it has been answered
