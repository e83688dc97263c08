"""The shop's work done far away: its lane hands over what workers without the store take from SQS."""

from typing import Any

from sidelane import Sidelane, Sqs

OFFERS, RESULTS = "far-offers", "far-results"

lane = Sidelane()

hold = lane.remote("hold", input=dict[str, Any], result=str, via=Sqs(OFFERS), reply=Sqs(RESULTS), timeout=60)
