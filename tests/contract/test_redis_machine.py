"""Redis and Valkey behave like the reference store under random calls."""

import os
import secrets
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from sidelane.conformance.model.state_machine import StoreMachine
from sidelane.conformance.stores.fixtures import UrlStoreFactory
from tests.contract.servers import RunningServer

EXAMPLES = {"ci": 30, "long": 1000}
profile = settings(
    max_examples=EXAMPLES[os.environ.get("SIDELANE_MACHINE", "ci")],
    stateful_step_count=40,
    deadline=None,
    print_blob=True,
    suppress_health_check=list(HealthCheck),
)


class OnValkey(StoreMachine):
    """Two connections, used in turn; each run has its own store."""

    connections = 2
    kind = "valkey"
    server: RunningServer

    def new_factory(self) -> UrlStoreFactory:
        return UrlStoreFactory(self.server.url(name=secrets.token_hex(8)))


class OnRedis(OnValkey):
    """The same on Redis."""

    kind = "redis"


@pytest.mark.parametrize(
    "machine", [OnValkey, pytest.param(OnRedis, marks=pytest.mark.long)], ids=lambda machine: str(machine.kind)
)
def test_redis_behaves_like_the_reference_store(machine: type[OnValkey], tmp_path: Path) -> None:
    machine.server = RunningServer(machine.kind, tmp_path).start()
    try:
        run_state_machine_as_test(machine, settings=profile)
    finally:
        machine.server.stop()
