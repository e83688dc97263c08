"""Durable jobs for FastAPI endpoints that take seconds or minutes.

Each public name is imported when it is first used. So a process that needs none of them, such as the parent of a process group,
starts faster and stays smaller.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
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
    from sidelane.processes.json_logs import JsonLogFormatter
    from sidelane.tasks.context import Context
    from sidelane.tasks.job import Job
    from sidelane.tasks.job_log_filter import JobLogFilter
    from sidelane.tasks.llm_span import LlmSpan, llm_span
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
    "JobLogFilter",
    "JobRecord",
    "JobRefused",
    "JobRemoved",
    "JsonLogFormatter",
    "LaneNotOpen",
    "LimitReached",
    "LlmSpan",
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
    "llm_span",
]

_MODULES = {
    "Sidelane": "sidelane.app",
    "MessageCallback": "sidelane.callbacks.message_callback",
    "CallbackRecord": "sidelane.callbacks.status",
    "Webhook": "sidelane.callbacks.webhook",
    "Batch": "sidelane.client.batch_handle",
    "Http": "sidelane.external.http",
    "ExternalTask": "sidelane.external.task",
    "File": "sidelane.files.file",
    "Upload": "sidelane.files.files",
    "BatchRecord": "sidelane.model.batch",
    "ArgumentsError": "sidelane.model.errors",
    "ConfigurationError": "sidelane.model.errors",
    "FilesUnavailable": "sidelane.model.errors",
    "FileTooLarge": "sidelane.model.errors",
    "JobCancelled": "sidelane.model.errors",
    "JobConflict": "sidelane.model.errors",
    "JobError": "sidelane.model.errors",
    "JobFailed": "sidelane.model.errors",
    "JobRefused": "sidelane.model.errors",
    "JobRemoved": "sidelane.model.errors",
    "LaneNotOpen": "sidelane.model.errors",
    "LimitReached": "sidelane.model.errors",
    "MalformedMessage": "sidelane.model.errors",
    "PayloadTooLarge": "sidelane.model.errors",
    "PermanentFailure": "sidelane.model.errors",
    "QueueFull": "sidelane.model.errors",
    "ResultNotReady": "sidelane.model.errors",
    "RetryLater": "sidelane.model.errors",
    "SidelaneError": "sidelane.model.errors",
    "StoreMisconfigured": "sidelane.model.errors",
    "StoreUnavailable": "sidelane.model.errors",
    "TransportMisconfigured": "sidelane.model.errors",
    "TransportUnavailable": "sidelane.model.errors",
    "UnboundFile": "sidelane.model.errors",
    "UnknownBatch": "sidelane.model.errors",
    "UnknownFile": "sidelane.model.errors",
    "UnknownJob": "sidelane.model.errors",
    "UnknownSchedule": "sidelane.model.errors",
    "WrongFileType": "sidelane.model.errors",
    "Cursor": "sidelane.model.event",
    "Event": "sidelane.model.event",
    "JobRecord": "sidelane.model.job",
    "State": "sidelane.model.job",
    "ConcurrencyLimit": "sidelane.model.limit",
    "RateLimit": "sidelane.model.limit",
    "Message": "sidelane.model.message",
    "CancelAfter": "sidelane.model.options",
    "Options": "sidelane.model.options",
    "Problem": "sidelane.model.problem",
    "Queue": "sidelane.model.queue",
    "Delays": "sidelane.model.retry",
    "Exponential": "sidelane.model.retry",
    "Fixed": "sidelane.model.retry",
    "Retry": "sidelane.model.retry",
    "JsonLogFormatter": "sidelane.processes.json_logs",
    "Context": "sidelane.tasks.context",
    "Job": "sidelane.tasks.job",
    "LlmSpan": "sidelane.tasks.llm_span",
    "llm_span": "sidelane.tasks.llm_span",
    "JobLogFilter": "sidelane.tasks.job_log_filter",
    "PREVIOUS_FAILURE": "sidelane.tasks.placeholders",
    "PREVIOUS_RESULT": "sidelane.tasks.placeholders",
    "FinishedBatch": "sidelane.tasks.placeholders",
    "FinishedJob": "sidelane.tasks.placeholders",
    "Resource": "sidelane.tasks.resources",
    "Use": "sidelane.tasks.resources",
    "Result": "sidelane.tasks.signature",
    "Call": "sidelane.tasks.task",
    "Task": "sidelane.tasks.task",
    "PubSub": "sidelane.transports.endpoints",
    "Sqs": "sidelane.transports.endpoints",
    "CompletionMessage": "sidelane.transports.job_messages",
    "DispatchedJob": "sidelane.transports.job_messages",
    "EmittedEvent": "sidelane.transports.job_messages",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_MODULES[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
