"""Hostile input, case by case: what it costs an API and a worker in memory, and for how long it blocks their event loops.

    make bench ARGS=hostile                                  every case, on SQLite and on a Redis server
    python -m benchmarks.hostile_input sqlite|redis [CASE…]  some of them

Both processes are real; the inputs come from this one. Memory is the peak (VmHWM) during a case beyond the resident memory before
it. A block is the time by which a ticker of 5 ms in the loop came too late.
"""

import asyncio
import http.client
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from benchmarks.server import free_port, running_server
from tests.transports.moto import Moto

MEGABYTE = 1 << 20
DEEP = 100_000
MAX_GROWTH, MAX_BLOCK = 20.0, 50.0
"""Megabytes and milliseconds that a case may cost a process."""

ROLES = ("api", "worker")
REPEATS = 2
SETTLE = 0.5
"""Seconds after a case that are measured too."""

TIMEOUT = 60.0


@dataclass
class Cost:
    """What a case cost one process."""

    case: str
    role: str
    grown: float  # megabytes
    blocked: float  # milliseconds
    answers: str  # the statuses of the API's answers

    @property
    def is_met(self) -> bool:
        return self.grown <= MAX_GROWTH and self.blocked <= MAX_BLOCK


class Watched:
    """A process whose memory and loop are measured."""

    def __init__(self, role: str, process: "subprocess.Popen[bytes]", folder: Path) -> None:
        self.role = role
        self._process = process
        self._late = folder / f"{role}.late"

    def memory(self, what: str) -> float:
        """Return its memory in megabytes: current (`VmRSS`) or peak (`VmHWM`)."""
        status = Path(f"/proc/{self._process.pid}/status").read_text("utf-8")
        return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith(what))

    def begin(self) -> None:
        Path(f"/proc/{self._process.pid}/clear_refs").write_text("5", "utf-8")  # resets the peak
        self._before, self._began = self.memory("VmRSS"), time.monotonic()

    def cost(self, case: str, answers: str) -> Cost:
        """Return what was measured since `begin`."""
        assert self._process.poll() is None, f"the {self.role} ended"
        late = [tuple(map(float, line.split())) for line in self._late.read_text("utf-8").splitlines()]
        blocked = max((lateness for at, lateness in late if at > self._began), default=0.0)
        return Cost(case, self.role, self.memory("VmHWM") - self._before, blocked, answers)


@dataclass
class Receiver:
    """Receives webhooks and dispatched jobs, and answers by the path: endlessly, slowly, or at once."""

    messages: list[Any] = field(default_factory=list)
    port: int = field(default_factory=free_port)

    @contextmanager
    def running(self) -> Iterator[None]:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()
        asyncio.run_coroutine_threadsafe(asyncio.start_server(self._serve, "127.0.0.1", self.port), loop).result(5)
        try:
            yield
        finally:
            asyncio.run_coroutine_threadsafe(_cancel_others(), loop).result(5)
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.IncompleteReadError):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            await self._answer(head.split()[1].decode(), body, writer)
        writer.close()

    async def _answer(self, path: str, body: bytes, writer: asyncio.StreamWriter) -> None:
        if path == "/large":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (50 * MEGABYTE))
            for _ in range(50):
                writer.write(bytes(MEGABYTE))
                await writer.drain()
        elif path == "/slow":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n")
            for _ in range(1000):
                writer.write(b".")
                await writer.drain()
                await asyncio.sleep(0.01)
        elif path == "/headers":
            writer.write(b"HTTP/1.1 200 OK\r\n")
            for number in range(500_000):
                writer.write(b"X-%d: %s\r\n" % (number, b"x" * 100))
                await writer.drain()
        else:
            if path == "/dispatch":
                self.messages.append(json.loads(body))
            writer.write(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
        await writer.drain()


async def _cancel_others() -> None:
    """Cancel what still answers a request."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for each in others:
        each.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@dataclass
class Service:
    """The running processes, and how to send to them."""

    port: int
    receiver: Receiver
    moto: Moto
    queue: str
    answers: list[int] = field(default_factory=list)
    """The status of every answer; 0 if the connection was closed without one."""

    def send(self, method: str, path: str, body: bytes = b"", **headers: str) -> tuple[int, Any]:
        """Send one request, and return status and document."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)) as connection:
            try:
                connection.request(method, path, body, named)
                answer = connection.getresponse()
                text = answer.read()
            except OSError:
                self.answers.append(0)
                return 0, None
        self.answers.append(answer.status)
        with suppress(ValueError):
            return answer.status, json.loads(text)
        return answer.status, None

    def json(self, path: str, text: str) -> tuple[int, Any]:
        """Send JSON, and wait for the result of the job, if there is one."""
        return self.send("POST", path, text.encode(), Content_Type="application/json", Prefer="wait=50")

    def result(self, path: str) -> None:
        """Submit a job, and wait until it has ended."""
        self.send("POST", path, Prefer="wait=50")

    def submit(self, path: str) -> Any:
        status, document = self.send("POST", path)
        assert status == 202, (path, status, document)
        return document["links"]

    def read(self, path: str, *, pause: float = 0.0, slow: float = 0.0, **headers: str) -> int:
        """Read an answer to its end and return its size. It pauses after each read for the first `slow` seconds."""
        size, until = 0, time.monotonic() + slow
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT)) as connection:
            connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            self.answers.append(answer.status)
            while piece := answer.read1(65_536):
                size += len(piece)
                if time.monotonic() < until:
                    time.sleep(pause)
        return size

    def upload(self, megabytes: int, *, chunked: bool) -> None:
        """Upload a form with one file, and go on sending whatever is answered."""
        head = b'--cut\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        with closing(socket.create_connection(("127.0.0.1", self.port), timeout=TIMEOUT)) as connection:
            length = (
                "Transfer-Encoding: chunked" if chunked else f"Content-Length: {len(head) + megabytes * MEGABYTE + 9}"
            )
            connection.sendall(
                b"POST /uploads HTTP/1.1\r\nHost: x\r\nContent-Type: multipart/form-data; boundary=cut\r\n"
                + f"{length}\r\n\r\n".encode()
            )
            with suppress(OSError):
                for piece in (head, *[os.urandom(MEGABYTE)] * megabytes, b"\r\n--cut--"):
                    connection.sendall(b"%x\r\n%s\r\n" % (len(piece), piece) if chunked else piece)
                if chunked:
                    connection.sendall(b"0\r\n\r\n")
            with suppress(OSError):
                self.answers.append(int((connection.recv(MEGABYTE).split() or [b"", b"0"])[1]))

    def frames(self, count: int) -> None:
        """Send frames of 1 MiB over the WebSocket of a job."""
        links = self.submit("/waiting")
        with (
            suppress(ConnectionClosed),
            connect(f"ws://127.0.0.1:{self.port}{links['events']}", proxy=None, max_size=None) as connection,
        ):
            for _ in range(count):
                connection.send(os.urandom(MEGABYTE))

    def hook(self, path: str) -> None:
        """Have a webhook sent, and wait for the answer."""
        self.result(f"/hooks?url=http://127.0.0.1:{self.receiver.port}{path}")
        time.sleep(4)

    def dispatched(self) -> Any:
        """Return the message of a job that was dispatched to the receiver."""
        before = len(self.receiver.messages)
        self.submit("/externals")
        until = time.monotonic() + 10
        while len(self.receiver.messages) == before:
            assert time.monotonic() < until, "no job was dispatched"
            time.sleep(0.02)
        return self.receiver.messages[-1]["data"]

    def complete(self, body: bytes) -> None:
        """Complete an external job with a body."""
        message = self.dispatched()
        token = message["token"]
        self.send("POST", f"/jobs/{message['job']}/complete", body, Authorization=f"Bearer {token}")

    def message(self, body: str) -> None:
        """Send a message to the consumer's queue, and wait until it has been received."""
        self.moto.sqs.send_message(QueueUrl=self.queue, MessageBody=body)
        until = time.monotonic() + 20
        while time.monotonic() < until:
            wanted = ["ApproximateNumberOfMessages"]
            asked = self.moto.sqs.get_queue_attributes(QueueUrl=self.queue, AttributeNames=wanted)["Attributes"]
            if int(asked[wanted[0]]) == 0:
                break
            time.sleep(0.1)


def deep(size: int = DEEP) -> str:
    return '{"item": ' + "[" * size + "]" * size + "}"


def failed_log(service: Service) -> None:
    """Read the log of a failed job of 100,000 events, in each way."""
    links = service.submit(f"/pours/{100_000}/8/true")
    assert service.read(links["events"]) > MEGABYTE
    vars(service)["links"] = links


def again(service: Service, *, result: bool) -> None:
    links = vars(service)["links"]
    if result:
        service.read(links["result"])
        return
    job = links["self"].rpartition("/")[2]
    service.read(f"{links['events']}?after={job}:0:0")
    with closing(socket.create_connection(("127.0.0.1", service.port), timeout=TIMEOUT)) as connection:
        connection.sendall(f"GET {links['events']} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        first = b""
        while b"\nid: " not in first:
            first += connection.recv(65_536)
    cursor = first.partition(b"\nid: ")[2].split()[0].decode()
    service.read(f"{links['events']}?after={cursor}")


def large_log(service: Service, readers: int) -> None:
    """Read a log of 16 MiB with slow readers."""
    links = service.submit(f"/pours/{800}/20000/false")
    each = {"pause": 0.05, "slow": 3.0}
    threads = [threading.Thread(target=service.read, args=(links["events"],), kwargs=each) for _ in range(readers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def submit_jobs_of_one_key(service: Service) -> None:
    for _ in range(175):
        service.send("POST", "/keyed/200")


def submit_batch(service: Service) -> None:
    vars(service)["batch"] = service.submit("/batches-of/1000")["self"]


CASES: dict[str, Callable[[Service], object]] = {
    "argument of 1 MiB": lambda s: s.json("/measures", json.dumps({"item": "x" * MEGABYTE})),
    "argument just below the limit": lambda s: s.json("/measures", json.dumps({"item": "x" * (MEGABYTE - 1000)})),
    "1,000 headers": lambda s: s.send("POST", "/measures", b"{}", **{f"X_{each}": "x" * 50 for each in range(1000)}),
    "1,000 labels": lambda s: s.send("POST", "/labels/1000"),
    "JSON of 100,000 levels": lambda s: s.json("/orders", deep()),
    "JSON of 200 levels": lambda s: s.json("/orders", deep(200)),
    "upload of 64 MB refused": lambda s: s.upload(64, chunked=False),
    "upload of 200 MB refused": lambda s: s.upload(200, chunked=False),
    "upload of 200 MB in chunks refused": lambda s: s.upload(200, chunked=True),
    "result of the payload limit": lambda s: s.result(f"/writes/{MEGABYTE - 2}"),
    "result above the limit": lambda s: s.result(f"/writes/{2 * MEGABYTE}"),
    "100,000 events by SSE": failed_log,
    "100,000 events by result": lambda s: again(s, result=True),
    "100,000 events by ?after=": lambda s: again(s, result=False),
    "16 MiB of tokens, one slow reader": lambda s: large_log(s, 1),
    "16 MiB of tokens, ten slow readers": lambda s: large_log(s, 10),
    "webhook that answers 50 MB": lambda s: s.hook("/large"),
    "webhook that answers slowly": lambda s: s.hook("/slow"),
    "webhook with endless headers": lambda s: s.hook("/headers"),
    "completion of 1 MiB, deep": lambda s: s.complete(b'{"result": ' + b"[" * (MEGABYTE // 2) + b"]" * (MEGABYTE // 2)),
    "completion of 1 MiB, binary": lambda s: s.complete(os.urandom(MEGABYTE)),
    "message of 1 MiB, deep": lambda s: s.message(deep(MEGABYTE // 2 - 10)),
    "message of 1 MiB, not JSON": lambda s: s.message("\u00ff" * (MEGABYTE // 2 - 10)),
    "WebSocket frames of 1 MiB": lambda s: s.frames(20),
    "current?key= of 35,000 jobs": lambda s: [s.read("/jobs/current?key=shared") for _ in range(20)],
    "1,000 calls in one request": submit_batch,
    "largest page of a list": lambda s: [s.read(f"{vars(s)['batch']}/jobs") for _ in range(5)],
    "Last-Event-ID of 64 kB": lambda s: s.read("/jobs/x/events", Last_Event_ID="x" * 65_000),
    "10,000 ids in a URL": lambda s: s.send("GET", "/batches/" + ",".join(f"{each:032x}" for each in range(10_000))),
}
"""What is sent, by the name of the case. They run in this order: some need what an earlier one made."""

PREPARED = {"current?key= of 35,000 jobs": submit_jobs_of_one_key}
"""What is done before a case and not measured."""


def warm_up(service: Service) -> None:
    """Send what is usual, so that what is loaded once does not count."""
    service.json("/measures", json.dumps({"item": "x" * 1000}))
    service.json("/orders", "not JSON")
    service.result("/writes/100000")
    for fails in ("true", "false"):
        links = service.submit(f"/pours/100/1000/{fails}")
        service.read(links["events"])
        service.read(links["result"])
    service.upload(1, chunked=False)
    service.complete(b'{"result": {"item": 1}}')
    service.message('{"item": 1}')
    service.frames(1)
    service.hook("/usual")
    submit_batch(service)
    service.read(f"{vars(service)['batch']}/jobs")


def run(names: Iterable[str], service: Service, watched: list[Watched]) -> Iterator[Cost]:
    """Send each case and yield what it cost.

    A case that blocked a loop for too long is repeated: what it causes comes again, what the machine did does not.
    """
    warm_up(service)
    for name in names:
        if name in PREPARED:
            PREPARED[name](service)
        costs = once(name, service, watched)
        for _ in range(REPEATS):
            if all(each.blocked <= MAX_BLOCK for each in costs):
                break
            again = once(name, service, watched)
            costs = [replace(one, blocked=min(one.blocked, two.blocked)) for one, two in zip(costs, again, strict=True)]
        yield from costs


def once(name: str, service: Service, watched: list[Watched]) -> list[Cost]:
    time.sleep(SETTLE)
    for each in watched:
        each.begin()
    service.answers.clear()
    CASES[name](service)
    time.sleep(SETTLE)
    answers = " ".join(map(str, dict.fromkeys(service.answers)))
    return [each.cost(name, answers) for each in watched]


@contextmanager
def running_service(store: str, folder: Path) -> Iterator[tuple[Service, list[Watched]]]:
    """Run the API and the worker inside the block."""
    receiver, moto = Receiver(), Moto(folder).start()
    port = free_port()
    queue = moto.queue(dead_letters=moto.queue(), losses=2)
    environment = {
        **os.environ, **moto.environment, "SIDELANE_STORE": store, "SIDELANE_FILE_STORAGE": str(folder / "files"),
        "SIDELANE_ALLOW_PRIVATE_CALLBACKS": "true", "SIDELANE_JOBS_URL": f"http://127.0.0.1:{port}/jobs",
        "SIDELANE_SECRET": "hostile " * 8, "HOSTILE_FOLDER": str(folder), "HOSTILE_QUEUE": queue,
        "HOSTILE_RECEIVER": f"http://127.0.0.1:{receiver.port}/dispatch",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }  # fmt: skip
    module = "benchmarks.hostile_service"
    commands = (
        ("uvicorn", f"{module}:app", "--port", str(port), "--log-level", "critical"),
        ("sidelane.cli", "worker", f"{module}:lane", "--log-level", "CRITICAL"),
    )
    processes = []
    try:
        with receiver.running():
            here = Path(__file__).parents[1]
            for command in commands:
                process = subprocess.Popen([sys.executable, "-m", *command], env=environment, cwd=here)
                processes.append(process)  # one by one, so that none is left running if another does not start
            service = Service(port, receiver, moto, queue)
            until = time.monotonic() + TIMEOUT
            while service.send("GET", "/light")[0] != 200:
                assert time.monotonic() < until, "the API did not start"
                time.sleep(0.05)
            assert service.send("POST", "/probe", Prefer="wait=50")[0] == 200, "the worker did not start"
            yield service, [Watched(role, each, folder) for role, each in zip(ROLES, processes, strict=True)]
    finally:
        for each in processes:
            each.kill()
            each.wait()
        moto.stop()


def table(costs: list[Cost]) -> str:
    """Return the costs as a table, with what is above the limits marked."""
    lines = [f"{'case':<38}{'role':<8}{'MB':>8}{'ms':>8}  answers"]
    lines += [
        f"{each.case:<38}{each.role:<8}{each.grown:>8.1f}{each.blocked:>8.0f}  {each.answers:<8}{'' if each.is_met else '  MISSED'}"
        for each in costs
    ]
    return "\n".join(lines)


def costs_on(store: str, folder: Path, names: Iterable[str] = CASES) -> list[Cost]:
    """Run a service on a store, send the cases, and return what they cost."""
    with running_service(store, folder) as (service, watched):
        return list(run(names, service, watched))


def main(kind: str, *names: str) -> int:
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        store = f"sqlite:///{folder / 'jobs.db'}"
        if kind != "sqlite":
            store = stack.enter_context(running_server(folder)).url
        costs = costs_on(store, folder, names or CASES)
    print(table(costs))
    return sum(not each.is_met for each in costs)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
