"""Sidelane puts slow requests in a lane of their own."""

from sidelane.app import Sidelane
from sidelane.callbacks.notice import Notice
from sidelane.callbacks.records import CallbackRecord
from sidelane.callbacks.webhook import Webhook
from sidelane.data.file import File
from sidelane.data.files import Upload
from sidelane.engine.batch import Batch
from sidelane.engine.context import Context
from sidelane.engine.given import FAILURE, RESULT, BatchEnd, Ended
from sidelane.engine.handle import Job
from sidelane.engine.resource import Resource, Use
from sidelane.engine.signature import Result
from sidelane.engine.task import Call, Task
from sidelane.model.batch import BatchRecord
from sidelane.model.errors import (
    ArgumentsError,
    ConfigurationError,
    FilesUnavailable,
    FileTooLarge,
    GiveUp,
    JobCancelled,
    JobConflict,
    JobError,
    JobFailed,
    JobGone,
    JobRefused,
    LimitReached,
    MalformedMessage,
    NotFinished,
    NotOpen,
    PayloadTooLarge,
    QueueFull,
    SidelaneError,
    StoreUnavailable,
    TransportUnavailable,
    TransportUnusable,
    TryLater,
    UnboundFile,
    UnknownBatch,
    UnknownFile,
    UnknownJob,
    UnknownSchedule,
    WrongFileType,
)
from sidelane.model.event import Cursor, Event
from sidelane.model.job import JobRecord, State
from sidelane.model.limit import Concurrent, Rate
from sidelane.model.message import Message
from sidelane.model.options import Cancel, Options
from sidelane.model.problem import Problem
from sidelane.model.queue import Queue
from sidelane.model.retry import Exponential, Fixed, Retry, Steps
from sidelane.remote.address import Http
from sidelane.remote.declaration import Remote
from sidelane.remote.messages import Emitted, Offer, Reply
from sidelane.transports.address import PubSub, Sqs

__version__ = "0.1.0"

__all__ = [
    "FAILURE",
    "RESULT",
    "ArgumentsError",
    "Batch",
    "BatchEnd",
    "BatchRecord",
    "Call",
    "CallbackRecord",
    "Cancel",
    "Concurrent",
    "ConfigurationError",
    "Context",
    "Cursor",
    "Emitted",
    "Ended",
    "Event",
    "Exponential",
    "File",
    "FileTooLarge",
    "FilesUnavailable",
    "Fixed",
    "GiveUp",
    "Http",
    "Job",
    "JobCancelled",
    "JobConflict",
    "JobError",
    "JobFailed",
    "JobGone",
    "JobRecord",
    "JobRefused",
    "LimitReached",
    "MalformedMessage",
    "Message",
    "NotFinished",
    "NotOpen",
    "Notice",
    "Offer",
    "Options",
    "PayloadTooLarge",
    "Problem",
    "PubSub",
    "Queue",
    "QueueFull",
    "Rate",
    "Remote",
    "Reply",
    "Resource",
    "Result",
    "Retry",
    "Sidelane",
    "SidelaneError",
    "Sqs",
    "State",
    "Steps",
    "StoreUnavailable",
    "Task",
    "TransportUnavailable",
    "TransportUnusable",
    "TryLater",
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
