"""Telemetry of event streams: opened, resumed and closed."""

from collections import Counter

from sidelane.telemetry import StreamClosed, StreamKind, StreamOpened, TelemetryEvent
from tests.system.waiting import until
from tests.web.clients import Server
from tests.web.service import Service
from tests.web.test_websocket import messages, open_socket, submitted


async def test_streams_are_reported_when_they_open_and_close(server: Server, service: Service) -> None:
    reported: list[TelemetryEvent] = []
    unsubscribe = service.lane.telemetry.subscribe(reported.append)
    job = await submitted(server, "draw", points=2)
    path = job["links"]["events"]
    await server.client.get(path)
    async with open_socket(server, path) as connection:
        received = await messages(connection)
    await server.client.get(path, headers={"Last-Event-ID": received[1]["id"]})
    await until(lambda: sum(isinstance(each, StreamClosed) for each in reported) == 3, "all streams have closed")
    unsubscribe()
    opened = Counter((each.kind, each.resumed) for each in reported if isinstance(each, StreamOpened))
    assert opened == {(StreamKind.SSE, False): 1, (StreamKind.SSE, True): 1, (StreamKind.WEBSOCKET, False): 1}
    assert service.lane.services.api_process.streams.open == 0
