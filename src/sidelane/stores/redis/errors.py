"""Translation of server errors into store errors, each with one sentence that names the store and what to do."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager

from redis import exceptions

from sidelane.model.errors import StoreError, StoreMisconfigured, StoreUnavailable

TRANSIENT_ERRORS = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    OSError,
    exceptions.ReadOnlyError,
    exceptions.AskError,  # MOVED too
    exceptions.ClusterDownError,  # MASTERDOWN too
    exceptions.TryAgainError,
)
"""Errors after which a call is retried, because the connection broke, or another server is or will be the primary."""

_CLUSTER_ERRORS: dict[str, type[exceptions.ResponseError]] = {
    "ASK": exceptions.AskError,
    "TRYAGAIN": exceptions.TryAgainError,
    "MOVED": exceptions.MovedError,
    "CLUSTERDOWN": exceptions.ClusterDownError,
    "MASTERDOWN": exceptions.MasterDownError,
}
"""Errors that redis-py before 6 only knows on its own cluster connections."""

_TRANSIENT_PREFIXES = ("NOREPLICAS", "UNBLOCKED")

_WRONG_LOGIN = "The store {name} refused the user or password ({error}): correct SIDELANE_STORE."
_NO_PERMISSION = (
    "The store {name} does not allow its user what Sidelane needs ({error}): give that user the right, or let SIDELANE_STORE "
    "name another."
)
_NO_RESPONSE = (
    "The store {name} does not answer: see whether the server is well, and whether SIDELANE_STORE is right about TLS."
)

_PERMANENT: tuple[tuple[type[Exception], str], ...] = (
    (exceptions.AuthenticationError, _WRONG_LOGIN),
    (exceptions.AuthorizationError, "The store {name} asks for a password ({error}): put it into SIDELANE_STORE."),
    (exceptions.NoPermissionError, _NO_PERMISSION),
    (
        ssl.SSLCertVerificationError,
        "The certificate of the store {name} is not trusted ({error}): name its authority by ssl_ca_certs in SIDELANE_STORE.",
    ),
)

_TEMPORARY: tuple[tuple[type[Exception], str], ...] = (
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
    (exceptions.TimeoutError, _NO_RESPONSE),
    (TimeoutError, _NO_RESPONSE),
    (
        exceptions.ConnectionError,
        "The store {name} cannot be reached ({error}): see whether it runs, and SIDELANE_STORE.",
    ),
    (OSError, "The store {name} cannot be reached ({error}): see whether it runs, and SIDELANE_STORE."),
)

_BY_PREFIX: tuple[tuple[str, type[StoreError], str], ...] = (
    ("WRONGPASS", StoreMisconfigured, _WRONG_LOGIN),
    ("NOAUTH", StoreMisconfigured, _WRONG_LOGIN),
    ("ACL failure in script", StoreMisconfigured, _NO_PERMISSION),
    ("The user executing the script can't", StoreMisconfigured, _NO_PERMISSION),  # the same in Redis 7.0
    ("OOM", StoreUnavailable, _TEMPORARY[0][1]),
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
def translate_errors() -> Iterator[None]:
    """Raise any error of a driver or event loop as an error of redis-py, an `OSError` or a `StoreError`.

    For example, uvloop raises `RuntimeError` on a write to a connection that was reset.
    """
    try:
        yield
    except exceptions.ResponseError as error:
        code, _, rest = str(error).partition(" ")
        if type(error) is exceptions.ResponseError and code in _CLUSTER_ERRORS:
            raise _CLUSTER_ERRORS[code](rest) from error
        raise
    except (exceptions.RedisError, OSError, StoreError):
        raise
    except Exception as error:  # the other types depend on the versions of driver and loop
        raise exceptions.ConnectionError(f"the connection broke: {error}") from error


def store_error(error: Exception, name: str) -> StoreError:
    """Return the store error for `error`, with a sentence about the store `name`."""
    error = _root_cause(error)
    text = str(error).rstrip(".")
    for kinds, error_type in ((_PERMANENT, StoreMisconfigured), (_TEMPORARY, StoreUnavailable)):
        for kind, sentence in kinds:
            if isinstance(error, kind):
                return error_type(sentence.format(name=name, error=text))
    for prefix, raised, sentence in _BY_PREFIX:
        if text.startswith(prefix):
            return raised(sentence.format(name=name, error=text))
    return StoreUnavailable(f"The store {name} refused: {text}.")


def is_transient(error: Exception) -> bool:
    """Return True if a call that raised `error` should be retried immediately."""
    error = _root_cause(error)
    if isinstance(error, tuple(kind for kind, _ in _PERMANENT)):
        return False
    return isinstance(error, TRANSIENT_ERRORS) or str(error).startswith(_TRANSIENT_PREFIXES)


def _root_cause(error: Exception) -> Exception:
    """Return the error that redis-py wrapped, because it reports every error while connecting as `ConnectionError`."""
    inner = error.__cause__ or error.__context__
    if type(error) is exceptions.ConnectionError and isinstance(inner, exceptions.RedisError | ssl.SSLError):
        return inner
    return error
