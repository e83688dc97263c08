"""Kinds of stores for tests with processes: one SQLite file, unless a test asks for servers, or for every store."""

import pytest

from tests.contract.servers import KINDS

SQLITE = "sqlite"

_FIRST_SERVER = pytest.param(KINDS[0], marks=pytest.mark.long)
_SECOND_SERVER = pytest.param(KINDS[1], marks=pytest.mark.soak)
"""Every store meets the whole contract, so most tests need one. The second server takes minutes."""

ON_SERVERS = pytest.mark.parametrize("kind", [KINDS[0], _SECOND_SERVER], indirect=True)
"""Run the test on Valkey and, with -m soak, on Redis."""

ON_EVERY_STORE = pytest.mark.parametrize("kind", [SQLITE, _FIRST_SERVER, _SECOND_SERVER], indirect=True)
"""Run the test on SQLite and, with -m long, on Valkey and, with -m soak, on Redis."""

ON_BOTH_STORES = pytest.mark.parametrize(
    ("kind", "appendfsync"),
    [(SQLITE, ""), pytest.param(KINDS[0], "everysec", marks=pytest.mark.long)],
    ids=[SQLITE, KINDS[0]],
    indirect=True,
)
"""Run the test on SQLite and, with -m long, on Valkey, which syncs once a second: these tests do not kill it."""
