"""Lane of external tasks: dispatched over SQS, completed over SQS or HTTP."""

import os

from pydantic import BaseModel

from sidelane import Sidelane, Sqs

OFFERS, RESULTS, OFFERS_BY_HTTP, OFFERS_THAT_KILL = "offers", "results", "offers-by-http", "offers-that-kill"

lane = Sidelane(settings={"jobs_url": os.environ.get("SHOP_JOBS_URL", "http://127.0.0.1:1/jobs")})


class Text(BaseModel):
    text: str | None
    seconds: float = 0.0


class Count(BaseModel):
    words: int


count = lane.external_task(
    "words.count", input=Text, result=Count, send_to=Sqs(OFFERS), replies_from=Sqs(RESULTS), timeout=30
)

count_by_http = lane.external_task(
    "words.count_by_http", input=Text, result=Count, send_to=Sqs(OFFERS_BY_HTTP), timeout=30
)

count_or_die = lane.external_task(
    "words.count_or_die",
    input=Text,
    result=Count,
    send_to=Sqs(OFFERS_THAT_KILL),
    replies_from=Sqs(RESULTS),
    timeout=2.0,
    max_worker_losses=1,
)
