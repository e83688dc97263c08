"""What transports and callbacks report."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from sidelane import Sidelane, Webhook
from sidelane.model.message import Message
from sidelane.telemetry import CallbackTried, MessageAction, MessagesHandled, Telemetry, TelemetryEvent
from sidelane.transports.factory import TransportPool
from tests.callbacks.local_receivers import receiving, status
from tests.system.waiting import until
from tests.transports.queues import MessageQueue, new_queue, queue

__all__ = ["new_queue", "queue"]


async def test_messages_and_requests_of_an_endpoint_are_reported(new_queue: Callable[[], MessageQueue]) -> None:
    queue, telemetry = new_queue(), Telemetry()
    reported: list[TelemetryEvent] = []
    telemetry.subscribe(reported.append)
    transports = TransportPool(telemetry)
    sender = await transports.get(queue.sender)
    assert await sender.send([Message(body=f"message {number}") for number in range(20)]) == [None] * 20
    receiver = await transports.get(queue.endpoint)
    async with receiver.open_receiver() as opened:
        count = 0
        while count < 20:
            deliveries = await opened.receive(20)
            count += len(deliveries)
            await deliveries[0].extend(20)
            for delivery in deliveries:
                await delivery.ack()
    await transports.close()
    messages, requests, bytes_ = Counter[MessageAction](), Counter[MessageAction](), Counter[MessageAction]()
    for each in reported:
        assert isinstance(each, MessagesHandled)
        assert each.endpoint in (str(queue.sender), str(queue.endpoint))
        messages[each.action] += each.count
        requests[each.action] += each.requests
        bytes_[each.action] += each.bytes
    assert messages[MessageAction.SENT] == messages[MessageAction.DELETED] == 20
    assert messages[MessageAction.RECEIVED] >= 20
    assert messages[MessageAction.EXTENDED] >= 1
    assert 1 <= requests[MessageAction.SENT] <= 20
    assert bytes_[MessageAction.SENT] == sum(len(f"message {number}") for number in range(20))


async def test_callbacks_are_reported_with_their_status_and_age(tmp_path: Path) -> None:
    lane = Sidelane(
        store=f"sqlite:///{tmp_path / 'jobs.db'}",
        settings={"allow_private_callbacks": True, "lease_duration": 2.0, "shutdown_timeout": 0.1},
    )

    @lane.task
    async def told() -> None: ...

    reported: list[CallbackTried] = []

    def listen(event: TelemetryEvent) -> None:
        if isinstance(event, CallbackTried):
            reported.append(event)

    lane.telemetry.subscribe(listen)
    async with receiving() as receiver, lane.open(workers=1):
        job = await told.options(callback=Webhook(receiver.url)).submit()
        await until(lambda: reported, "the callback is reported")
        receiver.replies = [status(503)]
        await told.options(callback=Webhook(receiver.url)).submit()
        await until(lambda: len(reported) == 2, "the other callback is reported")
    assert [(each.kind, each.status, each.error) for each in reported] == [
        ("webhook", 200, ""), ("webhook", 503, "NotDelivered"),
    ]  # fmt: skip
    assert reported[0].job == job.id
    assert all(0 <= each.age < 10 and 0 < each.seconds < 10 for each in reported)
