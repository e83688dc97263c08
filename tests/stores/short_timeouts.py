"""Less patience, for tests of what is said when a server stays away."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from sidelane.stores.redis import connection


@contextmanager
def short_timeouts() -> Iterator[None]:
    """Give calls up after a moment that would be repeated for seconds, or wait for seconds for replicas."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connection, "RETRY_TIMEOUT", 0.2)
        patch.setattr(connection, "REPLICATION_TIMEOUT", 0.2)
        yield
