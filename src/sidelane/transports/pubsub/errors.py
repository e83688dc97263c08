"""Pub/Sub errors: translates errors of Google's client, with a sentence that says what to do."""

from google.api_core import exceptions
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError

from sidelane.model.errors import TransportError, TransportMisconfigured, TransportUnavailable

CLIENT_ERRORS = (exceptions.GoogleAPIError, GoogleAuthError)
"""All exceptions of a call to Pub/Sub."""

PERMANENT_ERRORS = (
    exceptions.InvalidArgument,
    exceptions.FailedPrecondition,
    exceptions.OutOfRange,
    exceptions.AlreadyExists,
    exceptions.MethodNotImplemented,
)


def to_transport_error(error: BaseException, path: str, *, needs: str) -> TransportError:
    """Return the transport error for an error of the client; `needs` is the role that the call requires."""
    if isinstance(error, exceptions.RetryError) and error.cause is not None:
        error = error.cause
    match error:
        case exceptions.NotFound():
            return TransportMisconfigured(f"Pub/Sub has no {path}: create it, or correct its name or its project.")
        case exceptions.Forbidden():
            return TransportMisconfigured(f"Pub/Sub refuses {path} to these credentials: grant them {needs} on it.")
        case exceptions.Unauthorized() | DefaultCredentialsError() | RefreshError():
            return TransportMisconfigured(
                f"Pub/Sub accepts no credentials found here for {path}: set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth "
                f"application-default login`, or set PUBSUB_EMULATOR_HOST ({_message(error)})."
            )
        case _ if isinstance(error, PERMANENT_ERRORS):
            return TransportMisconfigured(f"Pub/Sub refuses this for {path}: {_message(error)}.")
        case _:
            return TransportUnavailable(f"Pub/Sub cannot be reached for {path}: {_message(error)}.")


def _message(error: BaseException) -> str:
    """Return the error's message on one line, without a full stop."""
    text = error.message if isinstance(error, exceptions.GoogleAPICallError) and error.message else str(error)
    return " ".join(text.split()).rstrip(".") or type(error).__name__
