"""Errors that Sidelane raises, as one tree. Those in brackets are declared in the module that raises them.

SidelaneError
├── ConfigurationError        a setting, a declaration or an installation that cannot work
│   ├── MissingExtra          a feature whose packages are not installed
│   ├── TaskDeclarationError  a task that cannot be registered as written
│   └── UnknownQueue          a queue that was never declared
├── LaneNotOpen               the lane is used before it is opened
├── ArgumentsError            a call whose arguments do not fit its task
│   ├── ArgumentsMismatch     a job's stored arguments that no longer fit it
│   ├── [AddressRefused]      a receiver that callbacks may not reach (callbacks.ssrf)
│   └── [IdempotencyMismatch] an Idempotency-Key that was used with another request (web.idempotency)
├── PayloadTooLarge           arguments, an event or a result over the size limit
├── UnknownTask               a task that was never declared
├── UnknownBatch              no such batch, or no longer
├── UnknownBulkAction         no such bulk action, or no longer
├── UnknownSchedule           no such schedule
├── UnknownLimit              no such limit
├── UnknownGroup              no such group of the service
├── SupervisorError           the supervisor of the service refused or did not answer
│   └── NoSupervisor          no supervisor runs here
├── ServiceUnreachable        nothing answers at the address of a service
├── [AlreadyAtWork, SupervisorEnded]  two commands on one service; its supervisor ended meanwhile (ops)
├── StoreError                the store refused or could not be reached
│   ├── StoreUnavailable      for now: disk full, busy, unreachable; the same call may work later
│   └── StoreMisconfigured    for good: corrupt, read-only, written by a newer version
├── MaintenanceRefused        a vacuum or a backup of the store that cannot be made
│   └── NotSupported          this kind of store has no such operation; the message says what to do instead
├── TransportError            a message could not be sent or received
│   ├── TransportUnavailable  for now: unreachable, throttled; the same call may work later
│   └── TransportMisconfigured  for good: no such queue or topic, no credentials, no permission, a message it never accepts
├── MalformedMessage          a received message that cannot be read; does not repeat its text
├── [NotDelivered]            a receiver did not accept a POST (callbacks.http_client); EndpointGone: it never will
├── [SecretError]             a secret that a delivery needs is missing (callbacks.secrets)
├── FileError                 about one file
│   ├── UnknownFile           no such file, or no longer; a forged or expired link to one
│   ├── FileTooLarge          an upload over its limit
│   ├── WrongFileType         an upload of a type that is not allowed, or not its declared one
│   ├── UnboundFile           a file from outside the lane that was not bound to it
│   └── FilesUnavailable      the file storage cannot be reached for now, or is full
├── JobError                  about one job
│   ├── UnknownJob            no such job
│   ├── JobRemoved            it existed, and its retention has passed
│   ├── ResultNotReady        it has not finished
│   ├── JobRefused            the store rejects it; has the problem
│   │   ├── JobConflict       it conflicts with another
│   │   ├── LimitReached      a limit is used up; has the limit
│   │   └── QueueFull         too many jobs of its queue are queued
│   ├── JobFailed             it failed; has the problem
│   └── JobCancelled          it was cancelled
├── RetryLater                raised by a task: run it again later, without counting a failure
├── PermanentFailure          raised by a task: do not retry
├── [Stopped]                 raised in a task by `ctx.check()` (tasks.context)
├── [LeaseLost]               raised in a task whose events are no longer accepted (worker.event_buffer)
├── [TimedOut, WrongResult, ProcessDied]  outcomes of attempts (worker.outcome); DeadlinePassed is a TimedOut
└── [MalformedCursor, IdempotencyError, NoUser, Guessable]  requests that are rejected (web)
"""

from sidelane.model.checks import is_duration
from sidelane.model.durations import Duration, to_seconds
from sidelane.model.job import Failure
from sidelane.model.limit import LimitHit
from sidelane.model.problem import Problem


class SidelaneError(Exception):
    """Something in Sidelane went wrong."""

    status = 500  # the HTTP status of a response with this error

    def __init__(self, message: str | Problem = "") -> None:
        """Take a message or a problem. Without either, the first line of the class's docstring is the message."""
        self._problem = message if isinstance(message, Problem) else None
        if isinstance(message, Problem):
            self.status = message.status
            message = message.detail or message.title
        super().__init__(message or (self.__doc__ or "").strip().splitlines()[0])

    def problem(self) -> Problem:
        """Return the problem document that a client sees."""
        return self._problem or Problem(status=self.status, detail=str(self))


class ConfigurationError(SidelaneError):
    """A setting, a declaration or the installation cannot work."""


class MissingExtra(ConfigurationError):
    """A feature was used whose packages are not installed."""


class TaskDeclarationError(ConfigurationError):
    """A task cannot be registered as it is written."""


class LaneNotOpen(SidelaneError):
    """The lane is not open: use it inside `async with lane.open()`, `lane.lifespan` or `with lane.sync_client()`."""


class ArgumentsError(SidelaneError):
    """The arguments do not fit the task."""

    status = 422


class ArgumentsMismatch(ArgumentsError):
    """The arguments a job was submitted with no longer fit its task."""


class PayloadTooLarge(SidelaneError):
    """Arguments, an event or a result are larger than the limit."""

    status = 413


class UnknownTask(SidelaneError):
    """No task of this name is registered."""

    status = 404


class UnknownBatch(SidelaneError):
    """There is no such batch."""

    status = 404


class UnknownBulkAction(SidelaneError):
    """There is no such bulk action, or no longer: they are kept for a day."""

    status = 404


class UnknownSchedule(SidelaneError):
    """There is no such schedule."""

    status = 404


class UnknownLimit(SidelaneError):
    """No task or queue declares a limit of this name, and no job uses one."""

    status = 404


class UnknownGroup(SidelaneError):
    """The service has no group of this name."""

    status = 404


class SupervisorError(SidelaneError):
    """The supervisor of the service refused a request, or did not answer."""


class NoSupervisor(SupervisorError):
    """No supervisor runs in this state directory."""


class ServiceUnreachable(SidelaneError):
    """Nothing answers at the address of the service."""


class UnknownQueue(ConfigurationError):
    """No queue of this name is declared."""


class StoreError(SidelaneError):
    """The store refused."""

    status = 503


class StoreUnavailable(StoreError):
    """The store cannot be reached at the moment. Nothing was done, and the same call may work later."""


class StoreMisconfigured(StoreError):
    """The store cannot be used as it is: it is corrupt, read-only, or written by a newer Sidelane."""


class MaintenanceRefused(SidelaneError):
    """The store cannot be vacuumed or backed up: there is not enough space, or the file of the backup exists."""


class NotSupported(MaintenanceRefused):
    """This kind of store has no such operation."""


class TransportError(SidelaneError):
    """A message could not be sent or received."""

    status = 502


class TransportUnavailable(TransportError):
    """The transport cannot be reached, or accepts no more for now. The same call may work later."""


class TransportMisconfigured(TransportError):
    """The transport cannot work as it is configured, or will never accept this message."""


class MalformedMessage(SidelaneError):
    """The message is not one that its receiver can use."""

    status = 400


class FileError(SidelaneError):
    """Something about one file."""


class UnknownFile(FileError):
    """There is no such file."""

    status = 404


class FileTooLarge(FileError):
    """The file is larger than the limit."""

    status = 413


class WrongFileType(FileError):
    """The file is not of a type that is allowed here."""

    status = 415


class UnboundFile(FileError):
    """This file is not bound to a lane: `lane.files.bind(file)` returns one that can be opened."""


class FilesUnavailable(FileError):
    """Files can be neither saved nor read at the moment. The same call may work later."""

    status = 503


class JobError(SidelaneError):
    """Something about one job."""


class UnknownJob(JobError):
    """There is no such job."""

    status = 404


class JobRemoved(JobError):
    """The job was removed after its retention. `user` is the job's user."""

    status = 410

    def __init__(self, message: str = "", user: str | None = None) -> None:
        super().__init__(message)
        self.user = user


class ResultNotReady(JobError):
    """The job has not finished yet."""

    status = 202


class JobRefused(JobError):
    """The store rejects the job."""


class JobConflict(JobRefused):
    """The job conflicts with another."""

    status = 409


class LimitReached(JobRefused):
    """A limit is used up. `reached` are the limits, `retry_after` is the number of seconds after which a retry may succeed."""

    status = 429

    def __init__(
        self, message: str | Problem = "", reached: tuple[LimitHit, ...] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.reached = reached
        self.retry_after = retry_after


class QueueFull(JobRefused):
    """Too many jobs are queued. `retry_after` is the number of seconds after which a retry may succeed."""

    status = 503

    def __init__(self, message: str | Problem = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class JobFailed(JobError):
    """The job failed. `partial` is the text that its last attempt yielded.

    `error` and `traceback` are those of the failure that ended it, for developers and operators. They are also a note of the
    exception, so that test reports and logs show them. Clients see the problem alone.
    """

    def __init__(self, problem: Problem, partial: str = "", failure: Failure | None = None) -> None:
        super().__init__(problem)
        self.partial = partial
        self.error = failure.error if failure else ""
        self.traceback = failure.traceback if failure else ""
        if self.error:
            self.add_note(f"The job's error: {self.error}")
        if self.traceback:
            self.add_note(self.traceback.rstrip())


class JobCancelled(JobError):
    """The job was cancelled. `partial` is the text that its last attempt yielded."""

    status = 409

    def __init__(self, message: str = "", partial: str = "") -> None:
        super().__init__(message)
        self.partial = partial


class RetryLater(SidelaneError):
    """Run the task again after `delay` seconds, without counting a failure. Raised by a task.

    Raises `ConfigurationError` if the delay is negative or not finite.
    """

    def __init__(self, delay: Duration = 0.0) -> None:
        seconds = to_seconds(delay)
        if not is_duration(seconds):
            raise ConfigurationError(f"RetryLater({delay}): this is a number of seconds, not below 0.")
        super().__init__(f"The task asked to be run again in {seconds:g} seconds.")
        self.delay = seconds


class PermanentFailure(SidelaneError):
    """Permanent failure: do not retry. Raised by a task."""

    def __init__(self, problem: Problem | str, *, status: int = 500) -> None:
        super().__init__(problem if isinstance(problem, Problem) else Problem(status=status, detail=problem))
