"""Sidelane puts slow requests in a lane of their own."""

from sidelane.app import Sidelane
from sidelane.engine.context import Context
from sidelane.engine.handle import Job
from sidelane.engine.resource import Resource, Use
from sidelane.engine.signature import Result
from sidelane.engine.task import Call, Task
from sidelane.model.errors import (
    ArgumentsError,
    ConfigurationError,
    GiveUp,
    JobCancelled,
    JobConflict,
    JobFailed,
    JobGone,
    NotFinished,
    NotOpen,
    PayloadTooLarge,
    SidelaneError,
    StoreUnavailable,
    TryLater,
    UnknownJob,
)
from sidelane.model.event import Cursor, Event
from sidelane.model.job import JobRecord, State
from sidelane.model.options import Cancel, Options
from sidelane.model.problem import Problem
from sidelane.model.queue import Queue
from sidelane.model.retry import Exponential, Fixed, Retry

__version__ = "0.1.0"

__all__ = [
    "ArgumentsError",
    "Call",
    "Cancel",
    "ConfigurationError",
    "Context",
    "Cursor",
    "Event",
    "Exponential",
    "Fixed",
    "GiveUp",
    "Job",
    "JobCancelled",
    "JobConflict",
    "JobFailed",
    "JobGone",
    "JobRecord",
    "NotFinished",
    "NotOpen",
    "Options",
    "PayloadTooLarge",
    "Problem",
    "Queue",
    "Resource",
    "Result",
    "Retry",
    "Sidelane",
    "SidelaneError",
    "State",
    "StoreUnavailable",
    "Task",
    "TryLater",
    "UnknownJob",
    "Use",
    "__version__",
]
