"""The errors Sidelane raises, as one tree. What stands in brackets is declared where it arises.

SidelaneError
├── ConfigurationError        a setting, a declaration or an installation that cannot work
│   ├── MissingExtra          a feature whose packages are not installed
│   ├── TaskDeclarationError  a task that cannot be registered as written
│   └── UnknownQueue          a queue that was never declared
├── NotOpen                   the lane is used before it is opened
├── ArgumentsError            a call whose arguments do not fit its task
│   ├── ArgumentsDoNotFit     a job's stored arguments that do not fit it any more
│   ├── [AddressRefused]      a receiver that callbacks may not reach (callbacks.addresses)
│   └── [IdempotencyMismatch] an Idempotency-Key that was used with another request (web.idempotency)
├── PayloadTooLarge           arguments, an event or a result over the size limit
├── UnknownTask               a task that was never declared
├── UnknownBatch              no such batch, or no longer
├── UnknownSchedule           no such schedule
├── StoreError                the store refused or could not be reached
│   ├── StoreUnavailable      for now: disk full, busy, unreachable; the same call may work later
│   └── StoreUnusable         for good: corrupt, read-only, written by a newer version
├── TransportError            a message could not be sent or received
│   ├── TransportUnavailable  for now: unreachable, throttled; the same call may work later
│   └── TransportMisconfigured     for good: no such queue or topic, no credentials, no permission, a message it never takes
├── MalformedMessage          a message that came in and cannot be read; says why, and repeats nothing of it
├── [NotDelivered]            a receiver did not take a POST (callbacks.poster); ReceiverGone: nor will it ever
├── [SecretError]             a secret that a delivery needs is missing, or none (callbacks.secrets)
├── FileError                 about one file
│   ├── UnknownFile           no such file, or no longer; a link to one that is forged or has expired
│   ├── FileTooLarge          an upload over its limit
│   ├── WrongFileType         an upload of a type that is not wanted, or not of the one it says
│   ├── UnboundFile           a file that came from elsewhere, and that no lane has been given yet
│   └── FilesUnavailable      where files are kept cannot be reached for now, or is full
├── JobError                  about one job
│   ├── UnknownJob            no such job
│   ├── JobGone               it was there, and its retention has passed
│   ├── NotFinished           its result was asked for too early
│   ├── JobRefused            the store does not take it as it is; carries the problem
│   │   ├── JobConflict       it cannot be beside another
│   │   ├── LimitReached      a limit keeps it out; says which
│   │   └── QueueFull         too many jobs of its queue wait
│   ├── JobFailed             it ended in failure; carries the problem
│   └── JobCancelled          it was cancelled
├── TryLater                  raised by a task: run me again in a while, at no cost
├── GiveUp                    raised by a task: this failure is final
├── [Stopped]                 raised in a task by `ctx.check()` (engine.context)
├── [LeaseLost]               raised in a task whose words do not count any more (engine.emission)
├── [TimedOut, WrongResult, ProcessDied]  how attempts end (engine.outcomes); DeadlinePassed is a TimedOut
└── [MalformedCursor, IdempotencyError, NoUser, Guessable]  requests that cannot be answered (web)
"""

import math

from sidelane.model.limit import LimitHit
from sidelane.model.problem import Problem


class SidelaneError(Exception):
    """Something in Sidelane went wrong."""

    status = 500  # the HTTP status this error has where it meets a client

    def __init__(self, said: str | Problem = "") -> None:
        """Take a sentence, or the whole problem; nothing said, the class's own docstring is it."""
        self._problem = said if isinstance(said, Problem) else None
        if isinstance(said, Problem):
            self.status = said.status
            said = said.detail or said.title
        super().__init__(said or (self.__doc__ or "").strip().splitlines()[0])

    def problem(self) -> Problem:
        """Give the problem document that a client sees."""
        return self._problem or Problem(status=self.status, detail=str(self))


class ConfigurationError(SidelaneError):
    """A setting, a declaration or the installation cannot work."""


class MissingExtra(ConfigurationError):
    """A feature was used whose packages are not installed."""


class TaskDeclarationError(ConfigurationError):
    """A task cannot be registered as it is written."""


class LaneNotOpen(SidelaneError):
    """The lane is not open: use it inside `lane.running()`, `lane.lifespan` or `lane.blocking()`."""


class ArgumentsError(SidelaneError):
    """The arguments do not fit the task."""

    status = 422


class ArgumentsMismatch(ArgumentsError):
    """The arguments a job was submitted with do not fit its task any more."""


class PayloadTooLarge(SidelaneError):
    """Arguments, an event or a result are larger than the limit."""

    status = 413


class UnknownTask(SidelaneError):
    """No task of this name is registered."""

    status = 404


class UnknownBatch(SidelaneError):
    """There is no such batch."""

    status = 404


class UnknownSchedule(SidelaneError):
    """There is no such schedule."""

    status = 404


class UnknownQueue(ConfigurationError):
    """No queue of this name is declared."""


class StoreError(SidelaneError):
    """The store refused."""

    status = 503


class StoreUnavailable(StoreError):
    """The store cannot be reached at the moment; nothing was done, and the same call may work later."""


class StoreMisconfigured(StoreError):
    """The store cannot be used as it is: it is corrupt, read-only, or written by a newer Sidelane."""


class TransportError(SidelaneError):
    """A message could not be sent or received."""

    status = 502


class TransportUnavailable(TransportError):
    """The transport cannot be reached, or takes no more for now; a repeat may work."""


class TransportMisconfigured(TransportError):
    """The transport will not work as it is set up, or will never take this message."""


class MalformedMessage(SidelaneError):
    """The message is not what its receiver takes."""

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
    """The file is not of a type that is wanted here."""

    status = 415


class UnboundFile(FileError):
    """This file belongs to no lane yet: `lane.files.bind(file)` gives one that can be opened."""


class FilesUnavailable(FileError):
    """Files can be neither kept nor read at the moment; the same call may work later."""

    status = 503


class JobError(SidelaneError):
    """Something about one job."""


class UnknownJob(JobError):
    """There is no such job."""

    status = 404


class JobRemoved(JobError):
    """The job was here, and its retention has passed. `user` is whose it was."""

    status = 410

    def __init__(self, message: str = "", user: str | None = None) -> None:
        super().__init__(message)
        self.user = user


class ResultNotReady(JobError):
    """The job has not finished yet."""

    status = 202


class JobRefused(JobError):
    """The store does not take the job as it is."""


class JobConflict(JobRefused):
    """Another job stands in the way."""

    status = 409


class LimitReached(JobRefused):
    """A limit keeps the job out. `reached` says which, `retry_after` in how many seconds it may be worth trying again."""

    status = 429

    def __init__(
        self, said: str | Problem = "", reached: tuple[LimitHit, ...] = (), retry_after: float | None = None
    ) -> None:
        super().__init__(said)
        self.reached = reached
        self.retry_after = retry_after


class QueueFull(JobRefused):
    """Too many jobs wait in the queue. `retry_after` is in how many seconds it may be worth trying again."""

    status = 503

    def __init__(self, said: str | Problem = "", retry_after: float | None = None) -> None:
        super().__init__(said)
        self.retry_after = retry_after


class JobFailed(JobError):
    """The job failed."""

    def __init__(self, problem: Problem, partial: str = "") -> None:
        super().__init__(problem)
        self.partial = partial


class JobCancelled(JobError):
    """The job was cancelled."""

    status = 409

    def __init__(self, message: str = "", partial: str = "") -> None:
        super().__init__(message)
        self.partial = partial


class RetryLater(SidelaneError):
    """The task asks to be run again later; this costs no attempt of its budget.

    `delay` is in seconds. Raises `ConfigurationError` on one that cannot be.
    """

    def __init__(self, delay: float = 0.0) -> None:
        if not (delay >= 0 and math.isfinite(delay)):
            raise ConfigurationError(f"TryLater({delay}): this is a number of seconds from now, not in the past.")
        super().__init__(f"The task asked to be run again in {delay:g} seconds.")
        self.delay = delay


class PermanentFailure(SidelaneError):
    """The task says that trying again is of no use."""

    def __init__(self, problem: Problem | str, *, status: int = 500) -> None:
        super().__init__(problem if isinstance(problem, Problem) else Problem(status=status, detail=problem))
