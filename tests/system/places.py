"""Where the processes of a test keep their jobs: one SQLite file, unless a test asks for servers, or for every store."""

import pytest

from tests.contract.servers import KINDS

SQLITE = "sqlite"

_SERVERS = [KINDS[0], *(pytest.param(kind, marks=pytest.mark.soak) for kind in KINDS[1:])]
"""Which server keeps the jobs is no matter to processes: each meets the whole contract. The second takes minutes of its own."""

ON_SERVERS = pytest.mark.parametrize("kind", _SERVERS, indirect=True)
"""Run the test on Valkey and, with -m soak, on Redis."""

ON_EVERY_STORE = pytest.mark.parametrize("kind", [SQLITE, *_SERVERS], indirect=True)
"""Run the test on SQLite, Valkey and, with -m soak, Redis."""

ON_BOTH_STORES = pytest.mark.parametrize(
    ("kind", "appendfsync"), [(SQLITE, ""), (KINDS[0], "everysec")], ids=[SQLITE, KINDS[0]], indirect=True
)
"""Run the test on SQLite, and on the server that the tests bring along, which syncs as servers do: no one kills it."""
