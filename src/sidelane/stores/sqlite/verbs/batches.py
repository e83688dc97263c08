"""open_batch, seal_batch, get_batch: jobs that are counted together. The counting is done by `batches`."""

import apsw

from sidelane.model.batch import BatchRecord, BatchSpec
from sidelane.stores.sqlite import batches
from sidelane.stores.sqlite.touched import ChangeSet
from sidelane.stores.validation import check_batch


def open_batch(connection: apsw.Connection, now: float, _touched: ChangeSet, spec: BatchSpec) -> BatchRecord:
    """Make a batch, or give the one that is there. Raises `JobRefused` where its follow-ups are no jobs."""
    check_batch(spec)
    batches.open_new(connection, spec, now)
    return batches.the_batch(connection, spec.id)


def seal_batch(connection: apsw.Connection, now: float, touched: ChangeSet, batch_id: str) -> BatchRecord | None:
    """Let no more jobs join a batch."""
    batches.seal(connection, batch_id, now, touched)
    return batches.batch(connection, batch_id)


def get_batch(connection: apsw.Connection, _now: float, batch_id: str) -> BatchRecord | None:
    return batches.batch(connection, batch_id)
