"""Errors of Google's client in sentences: what happened, to what, what to do."""

from google.api_core import exceptions
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError, RefreshError

from sidelane.model.errors import TransportError, TransportMisconfigured, TransportUnavailable

FAULTS = (exceptions.GoogleAPIError, GoogleAuthError)
"""All that a call to Pub/Sub raises."""

FOR_GOOD = (
    exceptions.InvalidArgument,
    exceptions.FailedPrecondition,
    exceptions.OutOfRange,
    exceptions.AlreadyExists,
    exceptions.MethodNotImplemented,
)


def fault(error: BaseException, path: str, *, needs: str) -> TransportError:
    """Say what an error of the client means for a topic or subscription; `needs` is the role that the call takes."""
    if isinstance(error, exceptions.RetryError) and error.cause is not None:
        error = error.cause
    match error:
        case exceptions.NotFound():
            return TransportMisconfigured(f"Pub/Sub has no {path}: create it, or correct its name or its project.")
        case exceptions.Forbidden():
            return TransportMisconfigured(f"Pub/Sub refuses {path} to these credentials: grant them {needs} on it.")
        case exceptions.Unauthorized() | DefaultCredentialsError() | RefreshError():
            return TransportMisconfigured(
                f"Pub/Sub takes no credentials found here for {path}: set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth "
                f"application-default login`, or set PUBSUB_EMULATOR_HOST ({_said(error)})."
            )
        case _ if isinstance(error, FOR_GOOD):
            return TransportMisconfigured(f"Pub/Sub does not take this for {path}: {_said(error)}.")
        case _:
            return TransportUnavailable(f"Pub/Sub cannot be reached for {path}: {_said(error)}.")


def _said(error: BaseException) -> str:
    """Give the error's own words, on one line, without a full stop."""
    words = error.message if isinstance(error, exceptions.GoogleAPICallError) and error.message else str(error)
    return " ".join(words.split()).rstrip(".") or type(error).__name__
