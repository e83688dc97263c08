"""External worker without the sidelane package, as in any language: counts the words of texts from an SQS queue."""

import json
import os
import time
from typing import Any
from urllib import error, request

import boto3

sqs = boto3.client("sqs")
jobs, results = os.environ["OFFERS"], os.environ.get("RESULTS")  # queue URLs; without RESULTS it replies over HTTP
visibility_timeout = int(os.environ.get("HOLD", "60"))  # seconds until a message that was not deleted is redelivered


def reply(job: dict[str, Any], kind: str, **content: object) -> None:
    data = json.dumps({"job": job["job"], "token": job["token"], **content})
    if results:
        event = {"specversion": "1.0", "id": os.urandom(8).hex(), "source": "/words", "type": f"sidelane.job.{kind}"}
        sqs.send_message(QueueUrl=results, MessageBody=f'{json.dumps(event)[:-1]}, "data": {data}}}')
        return
    url = job["complete_url" if kind == "completed" else "events_url"]
    headers = {"Authorization": f"Bearer {job['token']}", "Content-Type": "application/json"}
    try:
        request.urlopen(request.Request(url, data.encode(), headers))  # noqa: S310 - a URL of our own service
    except error.HTTPError as refused:
        if refused.code != 409:  # too late: the job is no longer this worker's
            raise


while True:
    for message in sqs.receive_message(QueueUrl=jobs, WaitTimeSeconds=20, VisibilityTimeout=visibility_timeout).get(
        "Messages", []
    ):
        job = json.loads(message["Body"])["data"]
        print("counting for", job["job"], flush=True)
        reply(job, "events", ordinal=1, events=[{"name": "progress", "data": {"percent": 10}}])
        words = len(job["input"]["text"].split())
        time.sleep(job["input"]["seconds"])  # as long as real work takes
        end = {"result": {"words": words}} if words else {"problem": {"status": 422, "title": "No words"}}
        reply(job, "completed", ordinal=2, **end)  # ordinals, because the events may arrive later than this
        sqs.delete_message(QueueUrl=jobs, ReceiptHandle=message["ReceiptHandle"])  # only after the reply
