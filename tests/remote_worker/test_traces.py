"""Traces over a remote worker: one trace from the submit to the attempt there, and back."""

from sidelane import Sidelane
from sidelane.worker.worker import run_in_background
from tests.exporters.collector import Collector, collector
from tests.external.conftest import MakeLane
from tests.transports.queues import MessageQueue

__all__ = ["collector"]


async def test_the_attempt_of_a_remote_worker_is_in_the_trace_of_its_submit(
    make_lane: MakeLane, queues: tuple[MessageQueue, MessageQueue], collector: Collector
) -> None:
    jobs, replies = queues
    here, there = make_lane(traces="otlp"), Sidelane(settings={"traces": "otlp", "lease_duration": 2.0})
    double = here.external_task("double", input=int, result=int, send_to=jobs.sender, replies_from=replies.endpoint)

    @there.task(name="double")
    async def run(n: int) -> int:
        return 2 * n

    remote = there.remote_worker(receive_from=jobs.endpoint, reply_to=replies.sender)
    async with remote as worker, run_in_background(worker), here.open(workers=1):
        job = await double.submit(21)
        assert await job.result(timeout=20) == 42

    sent, outside = await collector.span("send default"), await collector.span("process default")
    message, inside = await collector.span(f"send {jobs.sender}"), await collector.span(f"process {jobs.endpoint}")
    assert {each.trace for each in (outside, message, inside)} == {sent.trace}
    assert outside.parent == sent.id
    assert inside.parent == message.id
    assert outside.links == [inside.id]
    assert outside.started <= inside.started
    assert [each.attributes["sidelane.outcome"] for each in (inside, outside)] == ["succeeded", "succeeded"]
