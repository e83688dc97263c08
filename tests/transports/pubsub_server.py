"""A small Google Pub/Sub service for tests, spoken to with the real clients.

`python -m tests.transports.pubsub_server` prints its port, then obeys what it reads, one JSON object a line, and answers each
with a line; it ends when there is no more to read, so with whoever started it. `tests.transports.pubsub` starts it.

What differs from the real one: acknowledgement deadlines begin at one second (there: ten), and nothing outlives the process.
"""

import asyncio
import json
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc
from google.pubsub_v1 import types

from tests.transports.pubsub_service import Code, Refused, Service


class Running:
    """The service on a port, to be taken down and up again with all that it keeps."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._port = 0
        self._server: grpc.aio.Server | None = None

    async def up(self) -> int:
        if self._server is None:
            options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", -1)]
            self._server = grpc.aio.server(options=options)
            self._server.add_generic_rpc_handlers(self._handlers())
            self._port = self._server.add_insecure_port(f"127.0.0.1:{self._port}")
            await self._server.start()
        return self._port

    async def down(self) -> None:
        if self._server is not None:
            await self._server.stop(None)
            self._server = None

    def _handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        service = self._service
        publisher = {
            "CreateTopic": (service.create_topic, types.Topic),
            "GetTopic": (service.get_topic, types.GetTopicRequest),
            "DeleteTopic": (service.delete_topic, types.DeleteTopicRequest),
            "Publish": (service.publish, types.PublishRequest),
        }
        subscriber = {
            "CreateSubscription": (service.create_subscription, types.Subscription),
            "GetSubscription": (service.get_subscription, types.GetSubscriptionRequest),
            "DeleteSubscription": (service.delete_subscription, types.DeleteSubscriptionRequest),
            "Pull": (service.pull, types.PullRequest),
            "Acknowledge": (service.acknowledge, types.AcknowledgeRequest),
            "ModifyAckDeadline": (service.modify_ack_deadline, types.ModifyAckDeadlineRequest),
        }
        handlers = {name: self._unary(name, *one) for name, one in (publisher | subscriber).items()}
        handlers["StreamingPull"] = grpc.stream_stream_rpc_method_handler(
            self._stream, types.StreamingPullRequest.pb().FromString, lambda answer: answer.SerializeToString()
        )
        return (
            grpc.method_handlers_generic_handler("google.pubsub.v1.Publisher", handlers),
            grpc.method_handlers_generic_handler("google.pubsub.v1.Subscriber", handlers),
        )

    def _unary(self, name: str, method: Callable[[Any], Awaitable[Any]], request_type: Any) -> grpc.RpcMethodHandler:
        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
            try:
                self._enter(name)
                return await method(request)
            except Refused as error:
                await refuse(context, error)

        return grpc.unary_unary_rpc_method_handler(
            answer, request_type.pb().FromString, lambda answer: answer.SerializeToString()
        )

    async def _stream(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        try:
            self._enter("StreamingPull")
            async for answer in self._service.streaming_pull(requests, context):
                yield answer
        except Refused as error:
            await refuse(context, error)

    def _enter(self, name: str) -> None:
        self._service.count[name] = self._service.count.get(name, 0) + 1
        if name in self._service.fail:
            raise Refused(Code[self._service.fail[name]], "You are told so by the test.")


async def refuse(context: grpc.aio.ServicerContext, error: Refused) -> None:
    trailer = (("grpc-status-details-bin", error.status.SerializeToString()),) if error.status else ()
    await context.abort(error.code, error.send_error, trailer)


async def obey(service: Service, running: Running, command: dict[str, Any]) -> Any:
    """Do what a test says, and give what it asks for."""
    match command:
        case {"do": "up"}:
            return await running.up()
        case {"do": "down"}:
            return await running.down()
        case {"do": "cut"}:  # as the service does with every stream now and then
            service.cuts.set()
            service.cuts = asyncio.Event()
            return None
        case {"do": "count"}:
            return service.count
        case {"do": "left", "subscription": str(name)}:
            return service.subscriptions[name].left
        case {"do": "set", **wanted}:
            for name in wanted.keys() - {"seed"}:
                setattr(service, name, wanted[name])
            random.seed(wanted.get("seed"))
            return None
        case _:
            raise ValueError(command)


async def main() -> None:
    service = Service()
    running = Running(service)
    print(await running.up(), flush=True)
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        print(json.dumps(await obey(service, running, json.loads(line))), flush=True)
    await running.down()


if __name__ == "__main__":
    asyncio.run(main())
