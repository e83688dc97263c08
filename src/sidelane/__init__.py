"""Durable jobs for FastAPI endpoints that take seconds or minutes."""

from sidelane.app import Sidelane
from sidelane.callbacks.message_callback import MessageCallback
from sidelane.callbacks.status import CallbackRecord
from sidelane.callbacks.webhook import Webhook
from sidelane.client.batch_handle import Batch
from sidelane.external.http import Http
from sidelane.external.task import ExternalTask
from sidelane.files.file import File
from sidelane.files.files import Upload
from sidelane.model.batch import BatchRecord
from sidelane.model.errors import (
    ArgumentsError,
    ConfigurationError,
    FilesUnavailable,
    FileTooLarge,
    JobCancelled,
    JobConflict,
    JobError,
    JobFailed,
    JobRefused,
    JobRemoved,
    LaneNotOpen,
    LimitReached,
    MalformedMessage,
    PayloadTooLarge,
    PermanentFailure,
    QueueFull,
    ResultNotReady,
    RetryLater,
    SidelaneError,
    StoreMisconfigured,
    StoreUnavailable,
    TransportMisconfigured,
    TransportUnavailable,
    UnboundFile,
    UnknownBatch,
    UnknownFile,
    UnknownJob,
    UnknownSchedule,
    WrongFileType,
)
from sidelane.model.event import Cursor, Event
from sidelane.model.job import JobRecord, State
from sidelane.model.limit import ConcurrencyLimit, RateLimit
from sidelane.model.message import Message
from sidelane.model.options import CancelAfter, Options
from sidelane.model.problem import Problem
from sidelane.model.queue import Queue
from sidelane.model.retry import Delays, Exponential, Fixed, Retry
from sidelane.tasks.context import Context
from sidelane.tasks.job import Job
from sidelane.tasks.placeholders import PREVIOUS_FAILURE, PREVIOUS_RESULT, FinishedBatch, FinishedJob
from sidelane.tasks.resources import Resource, Use
from sidelane.tasks.signature import Result
from sidelane.tasks.task import Call, Task
from sidelane.transports.endpoints import PubSub, Sqs
from sidelane.transports.job_messages import CompletionMessage, DispatchedJob, EmittedEvent

__version__ = "0.1.0"

__all__ = [
    "PREVIOUS_FAILURE",
    "PREVIOUS_RESULT",
    "ArgumentsError",
    "Batch",
    "BatchRecord",
    "Call",
    "CallbackRecord",
    "CancelAfter",
    "CompletionMessage",
    "ConcurrencyLimit",
    "ConfigurationError",
    "Context",
    "Cursor",
    "Delays",
    "DispatchedJob",
    "EmittedEvent",
    "Event",
    "Exponential",
    "ExternalTask",
    "File",
    "FileTooLarge",
    "FilesUnavailable",
    "FinishedBatch",
    "FinishedJob",
    "Fixed",
    "Http",
    "Job",
    "JobCancelled",
    "JobConflict",
    "JobError",
    "JobFailed",
    "JobRecord",
    "JobRefused",
    "JobRemoved",
    "LaneNotOpen",
    "LimitReached",
    "MalformedMessage",
    "Message",
    "MessageCallback",
    "Options",
    "PayloadTooLarge",
    "PermanentFailure",
    "Problem",
    "PubSub",
    "Queue",
    "QueueFull",
    "RateLimit",
    "Resource",
    "Result",
    "ResultNotReady",
    "Retry",
    "RetryLater",
    "Sidelane",
    "SidelaneError",
    "Sqs",
    "State",
    "StoreMisconfigured",
    "StoreUnavailable",
    "Task",
    "TransportMisconfigured",
    "TransportUnavailable",
    "UnboundFile",
    "UnknownBatch",
    "UnknownFile",
    "UnknownJob",
    "UnknownSchedule",
    "Upload",
    "Use",
    "Webhook",
    "WrongFileType",
    "__version__",
]
