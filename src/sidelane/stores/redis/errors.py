"""What the server's errors mean to whoever runs the store: one sentence that names it and says what to do."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from sidelane.model.errors import StoreError, StoreMisconfigured, StoreUnavailable

PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    OSError,
    exceptions.ReadOnlyError,
    exceptions.AskError,  # MOVED too
    exceptions.ClusterDownError,  # MASTERDOWN too
    exceptions.TryAgainError,
)
"""Errors after which the same call is tried again: the connection broke, or another server is the primary now or will be soon."""

_PASSING_WORDS = ("NOREPLICAS", "UNBLOCKED")

_REFUSED = "The store {name} refused the user or password ({error}): correct SIDELANE_STORE."
_NO_RIGHT = (
    "The store {name} does not allow its user what Sidelane needs ({error}): give that user the right, or let SIDELANE_STORE "
    "name another."
)
_SILENT = (
    "The store {name} does not answer: see whether the server is well, and whether SIDELANE_STORE is right about TLS."
)

_FOR_GOOD: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.AuthenticationError, _REFUSED),
    (exceptions.AuthorizationError, "The store {name} asks for a password ({error}): put it into SIDELANE_STORE."),
    (exceptions.NoPermissionError, _NO_RIGHT),
    (
        ssl.SSLCertVerificationError,
        "The certificate of the store {name} is not trusted ({error}): name its authority by ssl_ca_certs in SIDELANE_STORE.",
    ),
)

_FOR_NOW: tuple[tuple[type[Exception], str], ...] = (
    (
        exceptions.OutOfMemoryError,
        "The store {name} is full: raise the server's maxmemory, or keep finished jobs for a shorter time.",
    ),
    (
        exceptions.ReadOnlyError,
        "The store {name} is a read-only replica at the moment: SIDELANE_STORE must name the primary server.",
    ),
    (
        exceptions.MovedError,
        "The store {name} is a cluster's node without the keys ({error}): let SIDELANE_STORE be redis+cluster://.",
    ),
    (
        exceptions.AskError,
        "The store {name} is being moved to another node of its cluster ({error}); it is back when all of it is there.",
    ),
    (exceptions.ClusterDownError, "The store {name} has no primary server at the moment: {error}."),
    (exceptions.BusyLoadingError, "The store {name} is still loading its data."),
    (exceptions.TimeoutError, _SILENT),
    (TimeoutError, _SILENT),
    (
        exceptions.ConnectionError,
        "The store {name} cannot be reached ({error}): see whether it runs, and SIDELANE_STORE.",
    ),
    (OSError, "The store {name} cannot be reached ({error}): see whether it runs, and SIDELANE_STORE."),
)

_BY_WORDS: tuple[tuple[str, type[StoreError], str], ...] = (
    ("WRONGPASS", StoreMisconfigured, _REFUSED),
    ("NOAUTH", StoreMisconfigured, _REFUSED),
    ("ACL failure in script", StoreMisconfigured, _NO_RIGHT),
    ("The user executing the script can't", StoreMisconfigured, _NO_RIGHT),  # the same from Redis 7.0
    ("OOM", StoreUnavailable, _FOR_NOW[0][1]),
    ("NOREPLICAS", StoreUnavailable, "The store {name} has fewer replicas than its min-replicas-to-write asks for."),
    (
        "DB index is out of range",
        StoreMisconfigured,
        "The store {name} has no such database ({error}): correct the number at the end of SIDELANE_STORE.",
    ),
    (
        "SELECT is not allowed in cluster mode",
        StoreMisconfigured,
        "The store {name} is on a cluster, which has database 0 alone: correct SIDELANE_STORE.",
    ),
    (
        "This instance has cluster support disabled",
        StoreMisconfigured,
        "The store {name} is on a server without a cluster: write redis:// in SIDELANE_STORE.",
    ),
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise whatever a driver or an event loop raises on a connection as an error of redis-py, an `OSError` or a `StoreError`.

    uvloop, for one, raises `RuntimeError` where one writes to a connection that was reset.
    """
    try:
        yield
    except (exceptions.RedisError, OSError, StoreError):
        raise
    except Exception as error:  # what else there is depends on the driver's and the loop's version
        raise exceptions.ConnectionError(f"the connection broke: {error}") from error


def store_error(error: Exception, name: str) -> StoreError:
    """Say in one sentence what `error` means for the store `name`."""
    error = _root_cause(error)
    text = str(error).rstrip(".")
    for kinds, raised in ((_FOR_GOOD, StoreMisconfigured), (_FOR_NOW, StoreUnavailable)):
        for kind, sentence in kinds:
            if isinstance(error, kind):
                return raised(sentence.format(name=name, error=text))
    for words, told, sentence in _BY_WORDS:
        if text.startswith(words):
            return told(sentence.format(name=name, error=text))
    return StoreUnavailable(f"The store {name} refused: {text}.")


def is_transient(error: Exception) -> bool:
    """Tell whether a call that met `error` is worth another try at once."""
    error = _root_cause(error)
    if isinstance(error, tuple(kind for kind, _ in _FOR_GOOD)):
        return False
    return isinstance(error, PASSING) or str(error).startswith(_PASSING_WORDS)


def _root_cause(error: Exception) -> Exception:
    """Give the error that redis-py has wrapped: it reports all that goes wrong while it connects as a broken connection."""
    inner = error.__cause__ or error.__context__
    if type(error) is exceptions.ConnectionError and isinstance(inner, exceptions.RedisError | ssl.SSLError):
        return inner
    return error
