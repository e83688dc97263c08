"""Groups of servers for tests: a primary with replicas and a sentinel, and a cluster."""

import itertools
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from redis.crc import key_slot
from redis.exceptions import ResponseError

from tests.contract.servers import RunningServer, free_port

SERVICE = "shop"
_NODE_TIMEOUT = 1000  # milliseconds until a cluster node counts as failed
_FAST_SYNC = (
    "--repl-diskless-sync-delay",
    "0",
    "--repl-diskless-load",
    "swapdb",
)  # otherwise a replica needs a second to sync
_BOUNDS = (0, 5461, 10923, 16384)

Group = TypeVar("Group", "SentinelGroup", "Cluster")


def until(condition: Callable[[], object], what: str, seconds: float = 20.0) -> None:
    """Wait until a condition of other processes is true."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"not within {seconds:g} s: {what}"
        time.sleep(0.02)


def wait_for_replica(server: RunningServer) -> None:
    until(lambda: server.info("replication").get("master_link_status") == "up", "the replica follows its primary")


def slot_of(name: str) -> int:
    """Return the hash slot of a store's keys."""
    return int(key_slot(f"{{{name}}}".encode()))


class RunningSentinel(RunningServer):
    """One sentinel, which decides on a failover alone."""

    def __init__(self, kind: str, folder: Path, primary: RunningServer, password: str = "") -> None:
        super().__init__(kind, folder)
        self._settings = folder / "sentinel.conf"
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"dir {folder}",
            f"sentinel monitor {SERVICE} 127.0.0.1 {primary.port} 1",
            f"sentinel down-after-milliseconds {SERVICE} 400",
            f"sentinel failover-timeout {SERVICE} 3000",
            f"sentinel parallel-syncs {SERVICE} 2",
            *([f"requirepass {password}"] if password else []),
        ]
        self._settings.write_text("\n".join(lines) + "\n")

    def command(self, *options: str) -> list[str]:
        return [self.program, str(self._settings), "--sentinel", *options]


class SentinelGroup:
    """A primary, its replicas, and a sentinel."""

    def __init__(self, kind: str, folder: Path, replicas: int = 2, password: str = "") -> None:
        self.servers = [RunningServer(kind, _made(folder / f"server{number}")) for number in range(1 + replicas)]
        self.sentinel = RunningSentinel(kind, _made(folder / "sentinel"), self.servers[0], password)
        self._password = password

    def start(self) -> None:
        first, *replicas = self.servers
        first.start("--appendfsync", "always", *_FAST_SYNC)
        for server in replicas:
            server.start("--replicaof", "127.0.0.1", str(first.port), *_FAST_SYNC)
        for server in replicas:
            wait_for_replica(server)
        self.sentinel.start()
        self._ask("SENTINEL", "DEBUG", "INFO-PERIOD", "200", "PUBLISH-PERIOD", "100")  # milliseconds
        until(
            lambda: len(self._ask("SENTINEL", "REPLICAS", SERVICE)) == len(replicas), "the sentinel knows the replicas"
        )

    def _ask(self, *words: str) -> list[object]:
        answer = self.sentinel.tell(*words, password=self._password)
        return answer if isinstance(answer, list) else [answer]

    def url(self, name: str = "sidelane", more: str = "") -> str:
        """Return a URL whose first sentinel is unreachable."""
        return f"redis+sentinel://127.0.0.1:{free_port()},127.0.0.1:{self.sentinel.port}/{SERVICE}/0?name={name}{more}"

    def fail_over(self) -> None:
        """Let the sentinel promote a replica."""

        def asked() -> bool:
            try:
                return bool(self._ask("SENTINEL", "FAILOVER", SERVICE))
            except ResponseError:  # it has not discovered its replicas yet
                return False

        until(asked, "the sentinel agrees")

    @property
    def primary(self) -> RunningServer:
        """The primary according to the sentinel."""
        _, port = self._ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        (found,) = [server for server in self.servers if server.port == int(str(port))]
        return found

    def stop(self) -> None:
        for server in [self.sentinel, *self.servers]:
            server.stop(signal.SIGKILL)


class Cluster:
    """Three primaries, and optional replicas of the first."""

    def __init__(self, kind: str, folder: Path, replicas: int = 0) -> None:
        self.nodes = [RunningServer(kind, _made(folder / f"node{number}")) for number in range(3 + replicas)]
        self._names = itertools.count()
        self._buses = [free_port() for _ in self.nodes]

    def start_node(self, node: RunningServer) -> None:
        bus = self._buses[self.nodes.index(node)]
        node.start(
            *("--cluster-enabled", "yes", "--cluster-port", str(bus)),
            *("--cluster-node-timeout", str(_NODE_TIMEOUT), *_FAST_SYNC),
        )

    def start(self) -> None:
        for node in self.nodes:
            self.start_node(node)
        for number, node in enumerate(self.nodes):
            node.tell("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            if number < 3:
                node.tell("CLUSTER", "ADDSLOTSRANGE", _BOUNDS[number], _BOUNDS[number + 1] - 1)
            node.tell("CLUSTER", "MEET", "127.0.0.1", self.nodes[0].port, self._buses[0])
        self._until("cluster_known_nodes", str(len(self.nodes)))
        for node in self.nodes[3:]:
            node.tell("CLUSTER", "REPLICATE", self.id_of(self.nodes[0]))
            wait_for_replica(node)
        self._until("cluster_state", "ok")

    def _until(self, what: str, value: str) -> None:
        until(lambda: all(node.cluster_info()[what] == value for node in self.nodes), f"{what} is {value}")

    def url(self, name: str = "sidelane") -> str:
        hosts = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes)
        return f"redis+cluster://{hosts}?name={name}"

    def name_at(self, node: RunningServer) -> str:
        """Return a new store name whose keys are on this node."""
        index = self.nodes.index(node)
        slots = range(_BOUNDS[index], _BOUNDS[index + 1])
        return next(name for name in map(str, self._names) if slot_of(name) in slots)

    def id_of(self, node: RunningServer) -> str:
        return str(node.tell("CLUSTER", "MYID"))

    def stop(self) -> None:
        for node in self.nodes:
            node.stop(signal.SIGKILL)


@contextmanager
def running(group: Group) -> Iterator[Group]:
    """Start a group of servers, and stop it in the end."""
    try:
        group.start()
        yield group
    finally:
        group.stop()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True)
    return folder
