"""Findings of a real service: alerts are sent once, whichever of its processes is killed."""

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sidelane.model.job import Failure
from sidelane.model.problem import Problem
from tests.cli.command import Command
from tests.cli.conftest import driver, project, sidelane
from tests.cli.project import Project, wait_until
from tests.cli.store_driver import StoreDriver

__all__ = ["driver", "project", "sidelane"]

FAILURE = Failure(problem=Problem(status=500, title="Internal error"), error="KeyError: 'stock_code'")


@contextmanager
def receiving() -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """Receive alerts on a free port within the block. Yields the port and the alerts."""
    received: list[dict[str, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            received.extend(json.loads(body)["alerts"])
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], received
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.system
@pytest.mark.long
@pytest.mark.row("R11")
def test_alerts_are_sent_once_whichever_process_is_killed(
    project: Project, driver: StoreDriver, sidelane: Command
) -> None:
    with receiving() as (port, alerts):
        project.write(
            "pyproject.toml",
            "[tool.sidelane]\nlease_duration = 2.0\nallow_private_callbacks = true\nalert_after = 1.0\n"
            f'alert_url = "http://127.0.0.1:{port}/secret-path"\n',
        )
        driver.submit("first")  # makes the store
        workers = [project.start("worker", "shop.lane:lane", "--name", f"w{number}") for number in range(3)]
        for worker in workers:
            worker.wait_for("is ready")
        wait_until(lambda: sidelane("attention").exit_code == 0, "no finding")
        driver.fail("job-1", FAILURE, task="unknown")
        assert sidelane("attention").exit_code == 1
        wait_until(lambda: [each["event"] for each in alerts] == ["started"], "the alert of the dead letter")
        for worker in workers[:2]:  # one of them may be the one that evaluates
            worker.signal(signal.SIGKILL)
        driver.call(lambda store: store.remove(["job-1"]))
        wait_until(lambda: "over" in [each["event"] for each in alerts], "the alert that it is over")
        time.sleep(5.0)  # nothing is repeated by the next evaluation
        dead_letter = [each["event"] for each in alerts if each["key"].startswith("dead-letters:")]
        assert dead_letter == ["started", "over"]
        assert not any("secret-path" in worker.output for worker in workers)
