"""Where the processes of a test keep their jobs: one SQLite file, unless a test asks for servers, or for every store."""

import pytest

from tests.contract.servers import KINDS

SQLITE = "sqlite"

ON_SERVERS = pytest.mark.parametrize("kind", KINDS, indirect=True)
"""Run the test on Redis and on Valkey."""

ON_EVERY_STORE = pytest.mark.parametrize("kind", [SQLITE, *KINDS], indirect=True)
"""Run the test on SQLite, Redis and Valkey."""

ON_BOTH_STORES = pytest.mark.parametrize(
    ("kind", "appendfsync"), [(SQLITE, ""), (KINDS[0], "everysec")], ids=[SQLITE, KINDS[0]], indirect=True
)
"""Run the test on SQLite, and on the server that the tests bring along, which syncs as servers do: no one kills it."""
