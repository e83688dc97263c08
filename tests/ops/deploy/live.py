"""A service behind a real nginx: its API groups under their parents, its workers, and the generated configuration."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from sidelane.ops.deploy.checks import SYSTEM_FOLDERS
from sidelane.ops.deploy.nginx import NginxOptions, nginx_check, nginx_files
from sidelane.ops.programs import Program, programs_of
from tests.contract.servers import free_port
from tests.ops.deploy.facts import TICKER, facts
from tests.system.processes import Processes, RunningProcess

TIMEOUT = 60.0

DESCRIPTION = """
[api.general]
app = "{module}:app"
port = {general}
processes = 2
health_port = {general_health}

[api.heavy]
app = "{module}:app"
port = {heavy}
pool = "heavy"
processes = 2
health_port = {heavy_health}

[worker.chat]
lane = "{module}:lane"
health_port = {worker_health}
"""


class Group:
    """The parent of a group, and the health of its processes."""

    def __init__(self, process: RunningProcess, program: Program) -> None:
        self.process = process
        self._health = f"http://127.0.0.1:{program.health[1]}/health/ready" if program.health else ""

    def processes(self) -> set[int]:
        """Return the ids of the processes, if all of them are ready, else nothing."""
        with suppress(httpx2.HTTPError):
            found = httpx2.get(self._health, trust_env=False).json()["processes"]
            if found and all(each["state"] == "ready" for each in found):
                return {each["pid"] for each in found}
        return set()

    def wait_ready(self, without: frozenset[int] = frozenset()) -> set[int]:
        """Wait until all processes are ready, and none of `without` is left."""
        end = time.monotonic() + TIMEOUT
        while not (found := self.processes()) or found & without:
            assert not self.process.exited, self.process.log_tail()
            assert time.monotonic() < end, self.process.log_tail()
            time.sleep(0.05)
        return found

    def roll(self) -> None:
        """Replace all processes, and wait for the end of the old ones."""
        before = frozenset(self.wait_ready())
        self.process.signal(signal.SIGHUP)
        self.wait_ready(before)

    def stop(self) -> None:
        self.process.signal(signal.SIGTERM)
        self.process.process.wait(TIMEOUT)


class LiveService:
    """The running groups by name, the URL of nginx, and that of the heavy pool."""

    def __init__(self, folder: Path, processes: Processes) -> None:
        names = ("general", "heavy", "general_health", "heavy_health", "worker_health")
        ports = {name: free_port() for name in names}
        service = facts(folder, DESCRIPTION.format(module=TICKER, **ports))
        port = free_port()
        files = nginx_files(service, NginxOptions(listen=f"127.0.0.1:{port}"))
        self.url, self.direct = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{ports['heavy']}"
        self.groups: dict[str, Group] = {}
        for program in programs_of(service.description):
            command = (sys.executable, "-m", "sidelane.cli", *program.command[1:])
            self.groups[program.name] = Group(processes.start(program.name, *command), program)
        main = folder / "nginx.conf"
        main.write_text(nginx_check(files, str(folder)), "utf-8")
        nginx = shutil.which("nginx", path=os.pathsep.join([os.environ["PATH"], *SYSTEM_FOLDERS]))
        if nginx is None:
            pytest.skip("Debian's nginx-light is not installed")
        root = "user root;" if os.geteuid() == 0 else ""  # another user cannot read the folder of a test
        self._nginx = subprocess.Popen([nginx, "-e", "stderr", "-p", folder, "-c", main, "-g", f"daemon off; {root}"])
        self._port = port

    def wait_ready(self) -> None:
        for group in self.groups.values():
            group.wait_ready()
        wait_listening(self._port)

    def stop(self) -> None:
        self._nginx.terminate()
        self._nginx.wait(TIMEOUT)


@contextmanager
def live_service(folder: Path) -> Iterator[LiveService]:
    """Start a service in a folder, and stop it after the block."""
    processes = Processes(folder, f"sqlite:///{folder / 'jobs.db'}", lease=10.0)
    try:
        service = LiveService(folder, processes)
        try:
            service.wait_ready()
            yield service
        finally:
            service.stop()
    finally:
        processes.stop()
        print(processes.report())


def wait_listening(port: int) -> None:
    end = time.monotonic() + TIMEOUT
    while True:
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert time.monotonic() < end, f"nothing listens on port {port}"
        time.sleep(0.02)
