"""Lane that dispatches the shop's tasks over SQS to remote workers."""

from typing import Any

from sidelane import Sidelane, Sqs

OFFERS, RESULTS = "far-offers", "far-results"

lane = Sidelane()

hold = lane.external_task(
    "hold", input=dict[str, Any], result=str, send_to=Sqs(OFFERS), replies_from=Sqs(RESULTS), timeout=60
)
