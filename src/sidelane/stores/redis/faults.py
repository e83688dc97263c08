"""What the server's errors mean to whoever runs the store: one sentence that names it and says what to do."""

from redis import exceptions

from sidelane.model.errors import StoreError, StoreUnavailable, StoreUnusable

PASSING = (exceptions.ConnectionError, exceptions.TimeoutError, OSError)
"""Errors after which the same call is tried again: the connection broke, or the server is not there yet."""

_FOR_GOOD: tuple[tuple[type[Exception], str], ...] = (
    (
        exceptions.AuthenticationError,
        "The store {name} refused the user or password ({error}): correct SIDELANE_STORE.",
    ),
    (exceptions.AuthorizationError, "The store {name} asks for a password ({error}): put it into SIDELANE_STORE."),
    (exceptions.NoPermissionError, "The store {name} does not allow its user what Sidelane needs: {error}."),
    (
        exceptions.MovedError,
        "The store {name} is a cluster's node without the keys ({error}): let SIDELANE_STORE name the node that has them.",
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
    (exceptions.BusyLoadingError, "The store {name} is still loading its data."),
    (exceptions.TimeoutError, "The store {name} does not answer: see whether the server is well."),
    (
        exceptions.ConnectionError,
        "The store {name} cannot be reached ({error}): see whether it runs, and SIDELANE_STORE.",
    ),
    (OSError, "The store {name} cannot be reached ({error}): see whether it runs, and SIDELANE_STORE."),
)


def store_error(error: Exception, name: str) -> StoreError:
    """Say in one sentence what `error` means for the store `name`."""
    for kinds, raised in ((_FOR_GOOD, StoreUnusable), (_FOR_NOW, StoreUnavailable)):
        for kind, sentence in kinds:
            if isinstance(error, kind):
                return raised(sentence.format(name=name, error=str(error).rstrip(".")))
    text = str(error)
    if text.startswith(("WRONGPASS", "NOAUTH")):
        return StoreUnusable(f"The store {name} refused the user or password ({text}): correct SIDELANE_STORE.")
    if text.startswith("OOM"):
        return StoreUnavailable(_FOR_NOW[0][1].format(name=name, error=text))
    return StoreUnavailable(f"The store {name} refused: {text}")


def passes(error: Exception) -> bool:
    """Tell whether a call that met `error` is worth another try at once."""
    return isinstance(error, PASSING) and not isinstance(
        error, exceptions.AuthenticationError | exceptions.AuthorizationError
    )
