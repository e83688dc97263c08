"""One shared server of each kind, started at its first use."""

from collections.abc import Iterator

import pytest

from tests.contract.servers import EVERY_KIND, RunningServer


@pytest.fixture(scope="session", params=EVERY_KIND)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A running server of each kind."""
    running = RunningServer(request.param, tmp_path_factory.mktemp(request.param)).start()
    yield running
    running.stop()
