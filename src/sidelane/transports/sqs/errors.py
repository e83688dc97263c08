"""SQS errors: translates errors of botocore, with a sentence that says what to do."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
    TokenRetrievalError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

from sidelane.model.errors import TransportError, TransportMisconfigured, TransportUnavailable
from sidelane.transports.endpoints import Sqs

_CREDENTIALS = (
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or another source of credentials that the AWS SDKs support"
)

_TEMPORARY_CODES = (
    "Throttl",
    "TooManyRequests",
    "ServiceUnavailable",
    "InternalError",
    "InternalFailure",
    "RequestTimeout",
    "OverLimit",
)
"""Parts of the codes of temporary errors."""

_ACTIONS = {"SendMessageBatch": "SendMessage", "DeleteMessageBatch": "DeleteMessage"} | {
    "ChangeMessageVisibilityBatch": "ChangeMessageVisibility"
}
"""Permissions whose names differ from their operations."""


@contextmanager
def translated_errors(endpoint: Sqs) -> Iterator[None]:
    """Raise `TransportUnavailable` or `TransportMisconfigured` instead of botocore's errors."""
    try:
        yield
    except ClientError as error:
        raise _client_error(endpoint, error) from error
    except TimeoutError as error:
        raise TransportUnavailable(f"{endpoint} does not answer.") from error
    except (BotoConnectionError, HTTPClientError, OSError) as error:
        raise TransportUnavailable(f"{endpoint} cannot be reached: {_first_line(error)}.") from error
    except (CredentialRetrievalError, TokenRetrievalError) as error:
        raise TransportUnavailable(f"{endpoint}: AWS credentials could not be fetched for now.") from error
    except NoCredentialsError as error:
        raise TransportMisconfigured(f"{endpoint}: there are no AWS credentials; {_CREDENTIALS}.") from error
    except PartialCredentialsError as error:
        raise TransportMisconfigured(f"{endpoint}: the AWS credentials are not complete; {_CREDENTIALS}.") from error
    except NoRegionError as error:
        raise TransportMisconfigured(
            f"{endpoint}: no AWS region is known; set AWS_REGION, or Sqs(…, region=…)."
        ) from error
    except ProfileNotFound as error:
        raise TransportMisconfigured(f"{endpoint}: the profile that AWS_PROFILE names does not exist.") from error
    except (BotoCoreError, ValueError) as error:  # e.g. an invalid endpoint URL
        raise TransportMisconfigured(f"{endpoint} cannot be used: {_first_line(error)}.") from error


def entry_error(endpoint: Sqs, answer: Mapping[str, Any]) -> TransportError:
    """Return the error of one entry of a batch."""
    message = f"{endpoint} did not accept the message: {answer.get('Code')}, {answer.get('Message', '')}".rstrip(" .,")
    return TransportMisconfigured(f"{message}.") if answer.get("SenderFault") else TransportUnavailable(f"{message}.")


def _client_error(endpoint: Sqs, error: ClientError) -> TransportError:
    code = str(error.response.get("Error", {}).get("Code", ""))
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    if any(part in code for part in _TEMPORARY_CODES) or status >= 500 or status == 429:
        return TransportUnavailable(f"{endpoint} accepts no requests for now: {code or status}.")
    if "NonExistentQueue" in code or "QueueDoesNotExist" in code:
        return TransportMisconfigured(f"{endpoint} does not exist there: check its name, region and account.")
    if "AccessDenied" in code or "AccessControl" in code or "Kms" in code:
        action = _ACTIONS.get(error.operation_name, error.operation_name)
        return TransportMisconfigured(
            f"{endpoint} refuses these AWS credentials: they need sqs:{action} on it ({code})."
        )
    if "Token" in code or "Signature" in code or "AccessKey" in code:
        return TransportMisconfigured(f"{endpoint}: AWS does not accept the credentials ({code}).")
    return TransportMisconfigured(f"{endpoint} refused {error.operation_name}: {code}, {_message(error)}.")


def _message(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Message", "")).strip().rstrip(".")


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
