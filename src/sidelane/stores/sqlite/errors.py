"""Translation of SQLite errors into store errors, each with one sentence that names the file and what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from sidelane.model.errors import StoreError, StoreMisconfigured, StoreUnavailable

_TRANSIENT: dict[type[apsw.Error], str] = {
    apsw.FullError: "The disk that holds the store {name} is full: free some space.",
    apsw.BusyError: "The store {name} has been locked by another process for too long: find that process.",
    apsw.LockedError: "The store {name} has been locked by another call for too long.",
    apsw.IOError: "The disk that holds the store {name} cannot be read or written ({error}): check its health and free space.",
    apsw.NoMemError: "There is not enough memory to use the store {name}.",
}

_PERMANENT: dict[type[apsw.Error], str] = {
    apsw.ReadOnlyError: "The store {name} is read-only: let this user write to the file and its folder.",
    apsw.PermissionsError: "The store {name} may not be opened: let this user read and write the file and its folder.",
    apsw.CantOpenError: "The store {name} cannot be opened: check that its folder exists and that this user may write there.",
    apsw.CorruptError: "The store {name} is damaged ({error}): restore a backup, or `.recover` what can be read.",
    apsw.NotADBError: "The file {name} is not an SQLite database: point SIDELANE_STORE at another one.",
}


def store_error(error: apsw.Error, name: str) -> StoreError:
    """Return the error of the store in the file `name`."""
    for kinds, raised in ((_TRANSIENT, StoreUnavailable), (_PERMANENT, StoreMisconfigured)):
        for kind, sentence in kinds.items():
            if isinstance(error, kind):
                return raised(sentence.format(name=name, error=error))
    return StoreUnavailable(f"The store {name} failed: {type(error).__name__}: {error}.")


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Raise SQLite errors of the block as errors of the store."""
    try:
        yield
    except apsw.Error as error:
        raise store_error(error, name) from error
