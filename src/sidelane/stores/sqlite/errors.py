"""What SQLite's errors mean to whoever runs the store: one sentence that names the file and says what to do."""

from collections.abc import Iterator
from contextlib import contextmanager

import apsw

from sidelane.model.errors import StoreError, StoreMisconfigured, StoreUnavailable

_FOR_NOW: dict[type[apsw.Error], str] = {
    apsw.FullError: "The disk that holds the store {name} is full: free some space.",
    apsw.BusyError: "The store {name} is locked by another process for too long: see what holds it.",
    apsw.LockedError: "The store {name} is locked by another call for too long: see what holds it.",
    apsw.IOError: "The disk that holds the store {name} cannot be read or written ({error}): see whether it is well and has space.",
    apsw.NoMemError: "There is no memory left to work on the store {name}.",
}

_FOR_GOOD: dict[type[apsw.Error], str] = {
    apsw.ReadOnlyError: "The store {name} is read-only: give this user the right to write to the file and to its folder.",
    apsw.PermissionsError: "The store {name} may not be opened: give this user the right to the file and to its folder.",
    apsw.CantOpenError: "The store {name} cannot be opened: see that its folder exists and that this user may write there.",
    apsw.CorruptError: "The store {name} is damaged ({error}): put a backup in its place, or `.recover` what can be read.",
    apsw.NotADBError: "The file {name} is not an SQLite database: point SIDELANE_STORE at another one.",
}


def store_error(error: apsw.Error, name: str) -> StoreError:
    """Say in one sentence what `error` means for the store in the file `name`."""
    for kinds, raised in ((_FOR_NOW, StoreUnavailable), (_FOR_GOOD, StoreMisconfigured)):
        for kind, sentence in kinds.items():
            if isinstance(error, kind):
                return raised(sentence.format(name=name, error=error))
    return StoreUnavailable(f"The store {name} refused: {type(error).__name__}: {error}.")


@contextmanager
def translate_errors(name: str) -> Iterator[None]:
    """Turn the SQLite errors of the block into errors of the store."""
    try:
        yield
    except apsw.Error as error:
        raise store_error(error, name) from error
