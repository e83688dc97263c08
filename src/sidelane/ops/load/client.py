"""Client of a load: sends one request, follows it to its end, and measures."""

import asyncio
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any, Final

import httpx2
from httpx2 import AsyncClient, Headers, Response, ServerSentEvent

from sidelane.model.errors import ServiceUnreachable
from sidelane.model.event import ATTEMPT, END, GAP, JOB, TOKEN
from sidelane.ops.load.figures import Distribution, HeavyFigures, LoadFigures
from sidelane.ops.load.plan import HeavyRoute, LoadPlan, fill

REFUSALS: Final = (429, 503)
"""Statuses that ask a client to repeat its request later. They are counted apart from errors."""

RETRY_AFTER = 1.0
"""Seconds until a repeat, if the answer has no `Retry-After`."""

MIN_RETRY = 0.1
"""Seconds until a stream that broke is continued, if the service asks for less."""

PROBE_TIMEOUT = 10.0

POOLS, REQUESTS_PER_POOL = 64, 25

KINDS: Final[dict[type[Exception], str]] = {
    TimeoutError: "timeout",
    httpx2.ConnectError: "cannot connect",
    httpx2.SSEError: "the answer is not an event stream",
    httpx2.TransportError: "the connection broke",
    httpx2.HTTPError: "the answer is malformed",
    httpx2.InvalidURL: "the answer is malformed",
    ValueError: "the answer is malformed",
}
"""Kinds of errors by their classes, the narrower ones first."""


class Refused(Exception):
    """The service asks for a repeat after `delay` seconds."""

    def __init__(self, delay: float) -> None:
        super().__init__(delay)
        self.delay = delay


class Unsuccessful(Exception):
    """A request that did not succeed. The message is the kind of the error."""


@dataclass(frozen=True, slots=True)
class HeavyRequest:
    """A request to a heavy route, with its templates filled in. `due` is when it should begin, by the monotonic clock."""

    path: str
    body: bytes | None
    headers: Headers
    due: float
    figures: HeavyFigures

    def accepted(self) -> None:
        """Note that the service has accepted the request."""
        self.figures.accepted.observe(time.monotonic() - self.due)


class LoadClient:
    """Sends the requests of a plan to its service. No error of a request leaves its methods."""

    def __init__(self, plan: LoadPlan, figures: LoadFigures, http: AsyncClient) -> None:
        self._plan = plan
        self._figures = figures
        self._http = http

    async def probe(self) -> None:
        """Raise `ServiceUnreachable` if nothing answers at the address."""
        try:
            await self._http.get(
                fill(self._plan.light or "/", 0, 0), headers=self._headers(0, 0), timeout=PROBE_TIMEOUT
            )
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise ServiceUnreachable(
                f"Nothing answers at {self._plan.url} ({error}), so no load was sent. Start the service, or correct the "
                "address."
            ) from error

    async def light(self, number: int, due: float, times: Distribution) -> None:
        """Send a request to the light route, and count its time in `times`."""

        async def request() -> None:
            path, headers = fill(self._plan.light, number, number), self._headers(number, number)
            answer = await self._http.get(path, headers=headers)
            if answer.status_code in REFUSALS:
                self._figures.refused[answer.status_code] += 1
            elif not answer.is_success:
                raise Unsuccessful(f"status {answer.status_code}")
            else:
                times.observe(time.monotonic() - due)

        await self._counted(due, request())

    async def heavy(self, route: HeavyRoute, number: int, user: int, due: float) -> bool:
        """Send a request to a heavy route, and follow what it began to its end. Return whether it succeeded.

        A request that the service refuses is repeated after `Retry-After`.
        """
        figures, headers, body = self._figures.heavy[route.path], self._headers(number, user), None
        if route.body is not None:
            body = fill(route.body, number, user).encode()
            headers.setdefault("Content-Type", "application/json")
        request = HeavyRequest(fill(route.path, number, user), body, headers, due, figures)

        async def follow() -> None:
            outcome = await self._until_accepted(request, latest=due + self._plan.timeout)
            figures.end.observe(time.monotonic() - due)
            self._figures.outcomes[outcome] += 1

        return await self._counted(due, follow())

    async def _counted(self, due: float, request: Coroutine[Any, Any, None]) -> bool:
        """Run a request, at most until its timeout, and count it and its error. Return whether it succeeded."""
        self._figures.lateness.observe(max(0.0, time.monotonic() - due))
        self._figures.sent += 1
        self._figures.in_flight += 1
        try:
            async with asyncio.timeout(due + self._plan.timeout - time.monotonic()):
                await request
            return True
        except Unsuccessful as error:
            self._figures.errors[str(error)] += 1
        except tuple(KINDS) as error:
            self._figures.errors[next(kind for each, kind in KINDS.items() if isinstance(error, each))] += 1
        finally:
            self._figures.in_flight -= 1
        return False

    async def _until_accepted(self, request: HeavyRequest, latest: float) -> str:
        """Follow a request to its end, and repeat it while the service refuses it. Return the outcome."""
        follow = self._follow_stream if self._plan.stream else self._follow_result
        while True:
            try:
                return await follow(request)
            except Refused as refused:
                if time.monotonic() + refused.delay > latest:
                    raise Unsuccessful("refused until the timeout") from None
                await asyncio.sleep(refused.delay)
                request = replace(request, due=time.monotonic())

    async def _follow_result(self, request: HeavyRequest) -> str:
        """Submit, and request the result until it is there. Return the outcome."""
        headers = request.headers.copy()
        if self._plan.wait is not None:
            headers["Prefer"] = f"wait={self._plan.wait:g}"
        answer = await self._http.post(request.path, content=request.body, headers=headers)
        self._check(answer)
        if self._plan.wait is None or answer.status_code == 202:
            request.accepted()
        if answer.status_code != 202:
            return "succeeded"
        url = result_url(answer)
        if url is None:
            return "accepted"
        while answer.status_code in (202, *REFUSALS):
            await asyncio.sleep(retry_after(answer))
            answer = await self._http.get(url, headers=request.headers)
        if not answer.is_success:
            raise Unsuccessful(f"the job failed with status {answer.status_code}")
        return "succeeded"

    async def _follow_stream(self, request: HeavyRequest) -> str:
        """Submit, and read the event stream to its end, also after it broke. Return the outcome."""
        stream = StreamReader(request, self._figures)
        while True:
            try:
                async with self._http.sse(**stream.next_request()) as source:
                    if source.response.status_code == 204:  # the end was received before
                        return stream.outcome()
                    if not stream.opened or source.response.status_code not in REFUSALS:
                        self._check(source.response)
                        stream.open()
                        async for event in source:
                            if stream.receive(event, source.response):
                                return stream.outcome()
            except httpx2.TransportError:
                if not stream.resumable:
                    raise
            if not stream.resumable:  # a stream without cursors just ends
                return stream.outcome()
            await asyncio.sleep(stream.retry)

    def _check(self, answer: Response) -> None:
        """Raise `Refused` or `Unsuccessful` if the answer is an error, or a redirect, which is not measured."""
        if answer.status_code in REFUSALS:
            self._figures.refused[answer.status_code] += 1
            raise Refused(retry_after(answer))
        if not answer.is_success:
            raise Unsuccessful(f"status {answer.status_code}")

    def _headers(self, number: int, user: int) -> Headers:
        return Headers({name: fill(value, number, user) for name, value in self._plan.headers.items()})


class StreamReader:
    """What was received of one event stream, and how it continues after a break."""

    def __init__(self, request: HeavyRequest, figures: LoadFigures) -> None:
        self._request = request
        self._figures = figures
        self.opened = False
        self.retry = RETRY_AFTER
        self._cursor = ""
        self._url: httpx2.URL | None = None  # of the job's events, as its snapshot names it
        self._end: dict[str, Any] = {}
        self._first_event = False
        self._tokens = 0
        self._first_token = self._last_token = 0.0

    @property
    def resumable(self) -> bool:
        return bool(self._url or self._cursor)

    def next_request(self) -> dict[str, Any]:
        """Return the arguments of the request that opens or continues the stream."""
        headers = self._request.headers.copy()
        if self._cursor:
            headers["Last-Event-ID"] = self._cursor
        if self._url is not None:
            return {"url": self._url, "headers": headers}
        return {"url": self._request.path, "method": "POST", "content": self._request.body, "headers": headers}

    def open(self) -> None:
        """Note that the service has answered with a stream, which may continue an earlier one."""
        if self.opened:
            self._figures.resumed += 1
        else:
            self.opened = True
            self._request.accepted()

    def receive(self, event: ServerSentEvent, response: Response) -> bool:
        """Count an event. Return whether it is the end."""
        now = time.monotonic()
        self._cursor = event.id or self._cursor
        if event.retry is not None:
            self.retry = max(event.retry / 1000, MIN_RETRY)
        if event.event == JOB:
            links = members(event.json()).get("links")
            self._url = link_url(response, members(links).get("events")) or self._url
            return False
        self._figures.events += 1
        if event.event == END:
            self._end = members(event.json())
            return True
        if not self._first_event and event.event not in {ATTEMPT, GAP}:
            self._first_event = True
            self._request.figures.first_event.observe(now - self._request.due)
        if event.event == TOKEN:
            if not self._tokens:
                self._request.figures.first_token.observe(now - self._request.due)
            self._figures.tokens += 1
            self._tokens += 1
            self._first_token = self._first_token or now
            self._last_token = now
        return False

    def outcome(self) -> str:
        """Return how the stream ended. Raises `Unsuccessful` if its job failed or was cancelled."""
        if self._last_token > self._first_token:
            self._figures.tokens_per_second.observe((self._tokens - 1) / (self._last_token - self._first_token))
        state = self._end.get("state", "succeeded")
        if state != "succeeded":
            status = members(self._end.get("problem")).get("status")
            end = "was cancelled" if state == "cancelled" else state
            raise Unsuccessful(f"the job {end}" + (f" with status {status}" if status else ""))
        return "succeeded"


class SpreadTransport(httpx2.AsyncBaseTransport):
    """Spreads requests over several pools of connections, because the cost of a request grows with the connections of its pool."""

    def __init__(self, figures: LoadFigures) -> None:
        self._figures = figures
        limits = httpx2.Limits(max_connections=None, max_keepalive_connections=None)
        ssl_context = httpx2.create_ssl_context()
        self._pools = [
            httpx2.AsyncHTTPTransport(verify=ssl_context, limits=limits, trust_env=False) for _ in range(POOLS)
        ]
        self._requests = count()

    async def handle_async_request(self, request: httpx2.Request) -> Response:
        used = min(1 + self._figures.in_flight // REQUESTS_PER_POOL, POOLS)
        return await self._pools[next(self._requests) % used].handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()


@asynccontextmanager
async def open_load_client(plan: LoadPlan, figures: LoadFigures) -> AsyncIterator[LoadClient]:
    """Open a client with as many connections as it needs. It uses no proxy, and no time limit but that of the plan."""
    async with AsyncClient(
        base_url=plan.url, transport=SpreadTransport(figures), timeout=None, trust_env=False
    ) as http:
        yield LoadClient(plan, figures, http)


def retry_after(answer: Response) -> float:
    """Return the seconds of `Retry-After`. A date, which few services send, counts as no value."""
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isascii() and text.isdigit() else RETRY_AFTER


def result_url(answer: Response) -> httpx2.URL | None:
    """Return where the result of a 202 will be: its `links.result` or `result_url`."""
    try:
        document = members(answer.json())
    except ValueError:
        return None
    return link_url(answer, members(document.get("links")).get("result") or document.get("result_url"))


def link_url(answer: Response, link: object) -> httpx2.URL | None:
    """Return the absolute URL of a link in an answer, or None if it is none."""
    return answer.url.join(link) if isinstance(link, str) and link else None


def members(value: object) -> dict[str, Any]:
    """Return the members of a JSON object, or none of anything else."""
    return value if isinstance(value, dict) else {}
