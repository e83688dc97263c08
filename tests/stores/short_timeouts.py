"""Short retry and replication timeouts, for tests of unavailable servers."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sidelane.stores.redis import connection


@contextmanager
def short_timeouts() -> Iterator[None]:
    """Shorten the time for which calls are retried and wait for replicas."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "RETRY_TIMEOUT", 0.2)
        patch.setattr(connection, "REPLICATION_TIMEOUT", 0.2)
        yield
