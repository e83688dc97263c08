"""What goes wrong with SQS, as our own errors: what happened, to which queue, what to do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as Unconnected
from botocore.exceptions import HTTPClientError as Broken

from sidelane.model.errors import TransportError, TransportMisconfigured, TransportUnavailable
from sidelane.transports.endpoints import Sqs

_CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or one of the other ways the AWS SDKs know"

_PASSING = (
    "Throttl",
    "TooManyRequests",
    "ServiceUnavailable",
    "InternalError",
    "InternalFailure",
    "RequestTimeout",
    "OverLimit",
)
"""What the codes of errors that pass have in them."""

_ACTIONS = {"SendMessageBatch": "SendMessage", "DeleteMessageBatch": "DeleteMessage"} | {
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility"
}
"""The permissions of operations that are not called as these are."""


@contextmanager
def translated(address: Sqs) -> Iterator[None]:
    """Raise what botocore raises as `TransportUnavailable` or `TransportUnusable`."""
    try:
        yield
    except ClientError as error:
        raise _refused(address, error) from error
    except TimeoutError as error:
        raise TransportUnavailable(f"{address} does not answer.") from error
    except (Unconnected, Broken, OSError) as error:
        raise TransportUnavailable(f"{address} cannot be reached: {_first_line(error)}.") from error
    except (CredentialRetrievalError, TokenRetrievalError) as error:
        raise TransportUnavailable(f"{address}: AWS credentials could not be fetched for now.") from error
    except NoCredentialsError as error:
        raise TransportMisconfigured(f"{address}: there are no AWS credentials; {_CREDENTIALS}.") from error
    except PartialCredentialsError as error:
        raise TransportMisconfigured(f"{address}: the AWS credentials are not complete; {_CREDENTIALS}.") from error
    except NoRegionError as error:
        raise TransportMisconfigured(
            f"{address}: no AWS region is known; set AWS_REGION, or Sqs(…, region=…)."
        ) from error
    except ProfileNotFound as error:
        raise TransportMisconfigured(f"{address}: the profile that AWS_PROFILE names does not exist.") from error
    except (BotoCoreError, ValueError) as error:  # an endpoint that is no URL, say
        raise TransportMisconfigured(f"{address} cannot be used: {_first_line(error)}.") from error


def failed(address: Sqs, answer: Mapping[str, Any]) -> TransportError:
    """Give the error of one entry of a batch."""
    said = f"{address} did not take the message: {answer.get('Code')}, {answer.get('Message', '')}".rstrip(" .,")
    return TransportMisconfigured(f"{said}.") if answer.get("SenderFault") else TransportUnavailable(f"{said}.")


def _refused(address: Sqs, error: ClientError) -> TransportError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if any(sign in code for sign in _PASSING) or status >= 500 or status == 429:
        return TransportUnavailable(f"{address} takes no more for now: {code or status}.")
    if "NonExistentQueue" in code or "QueueDoesNotExist" in code:
        return TransportMisconfigured(f"{address} does not exist there: check its name, region and account.")
    if "AccessDenied" in code or "AccessControl" in code or "Kms" in code:
        action = _ACTIONS.get(error.operation_name, error.operation_name)
        return TransportMisconfigured(
            f"{address} is closed to these AWS credentials: they need sqs:{action} on it ({code})."
        )
    if "Token" in code or "Signature" in code or "AccessKey" in code:
        return TransportMisconfigured(f"{address}: AWS does not accept the credentials ({code}).")
    return TransportMisconfigured(f"{address} refused {error.operation_name}: {code}, {_words(error)}.")


def _words(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", "")).strip().rstrip(".")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
