"""Client: submits and reads the jobs of an open store."""

import asyncio
import hmac
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, NoReturn, TypeVar

from sidelane.client.batch_handle import Batch
from sidelane.client.event_stream import MAX_POLL_INTERVAL, partial_text, stream_events
from sidelane.client.file_references import FileReferenceTracker, can_reference_files
from sidelane.client.maintenance import Maintenance
from sidelane.client.missing_worker import MissingWorkerCheck
from sidelane.client.submission import batch_spec, raise_if_rejected, rejection_error, submit_batch
from sidelane.client.worker_requests import follow_instructions
from sidelane.coalescing import CallCoalescer
from sidelane.files.file import ID_PREFIX
from sidelane.files.files import Files
from sidelane.model.durations import Duration
from sidelane.model.errors import JobCancelled, JobFailed, JobRemoved, ResultNotReady, UnknownJob
from sidelane.model.event import Cursor, Event
from sidelane.model.job import JobRecord, JobSpec, Query, Rejection, State, Submission, Tombstone, with_trace
from sidelane.model.problem import Problem
from sidelane.model.sentence import sentence
from sidelane.model.settings import Settings
from sidelane.model.worker_request import Instructions
from sidelane.stores.contract import Store, job_topic
from sidelane.stores.reporting import reporting
from sidelane.tasks.job import Job
from sidelane.tasks.registry import Registry
from sidelane.tasks.task import Call, Task, check_lane, ensure_call
from sidelane.telemetry.port import Telemetry
from sidelane.telemetry.spans import batch_attributes, job_attributes
from sidelane.telemetry.tracer import SpanKind

R = TypeVar("R")

SECRET = "secret"  # noqa: S105 - the name under which the store keeps it # nosec B105


class Client:
    """Submits, reads, cancels and requeues jobs of one open store, and sweeps it meanwhile.

    `registry` is that of the lane whose calls it submits; a client without a lane submits none.
    """

    def __init__(
        self,
        store: Store,
        *,
        settings: Settings,
        files: Files | None = None,
        registry: Registry | None = None,
        telemetry: Telemetry | None = None,
    ) -> None:
        self.telemetry = telemetry or Telemetry()
        self.store = reporting(store, self.telemetry)
        self.settings = settings
        self.registry = registry or Registry()
        self.workers = MissingWorkerCheck(self.store)
        self.files = files or Files(settings.file_storage, url=settings.files_url, client=lambda: self)
        self._file_references = FileReferenceTracker(self.store, self.files)
        self._submit = CallCoalescer(self.store.submit, limit=store.submit_batch_size)
        self._secret: bytes | None = None
        self._maintenance: asyncio.Task[None] | None = None

    def start_maintenance(self) -> None:
        """Start to sweep the store in the background."""
        maintenance = Maintenance(self.store, lease=self.settings.lease_duration, telemetry=self.telemetry)
        self._maintenance = asyncio.create_task(maintenance.run())

    async def close(self) -> None:
        """Stop the sweeps and close the store."""
        if self._maintenance is not None:
            self._maintenance.cancel()
            await asyncio.wait([self._maintenance])
        await self.files.close()
        await self.store.close()

    async def key(self, purpose: str) -> bytes:
        """Return the signing key for one purpose, derived from the setting `secret`, or from a secret in the store."""
        if self._secret is None:
            secret = self.settings.secret or await self.store.get_or_set(SECRET, secrets.token_hex(32))
            self._secret = secret.encode()
        return hmac.digest(self._secret, purpose.encode(), "sha256")

    async def submit(self, call: Call[R], *, parent: str | None = None, trace: str | None = None) -> Job[R]:
        """Submit a call as a durable job.

        Raises `ArgumentsError`, `PayloadTooLarge`, `LimitReached`, `QueueFull` or `StoreUnavailable`. Raises `JobConflict` if the
        id is that of another user's job, and `ConfigurationError` if the call's task is of another lane.
        """
        submission = await self.submission(call, parent=parent, trace=trace)
        return self.job(call.task, submission.record.id, created=submission.created)

    async def submission(self, call: Call[Any], *, parent: str | None = None, trace: str | None = None) -> Submission:
        """Submit a call and return the store's answer. Raises the errors of `submit`."""
        return await self.submit_spec(self._checked(call).spec(parent=parent, trace=trace))

    async def submit_spec(self, spec: JobSpec) -> Submission:
        """Submit the spec of a call or a schedule and return the store's answer. Raises the errors of `submit`."""
        tracer = self.telemetry.tracer
        if not tracer.active:
            return await self._submit_spec(spec)
        attributes = job_attributes("send", spec)
        with tracer.span(
            f"send {spec.queue}", kind=SpanKind.PRODUCER, parent=spec.trace, attributes=attributes
        ) as span:
            submission = await self._submit_spec(with_trace(spec, span.traceparent or spec.trace))
            span.set({"sidelane.created": submission.created})
            return submission

    async def _submit_spec(self, spec: JobSpec) -> Submission:
        if can_reference_files(spec):
            (answer,) = await self._file_references.submit([spec])
        else:
            answer = await self._submit(spec)
        return raise_if_rejected(answer, spec.user)

    async def keep_files(self, spec: JobSpec, text: str) -> None:
        """Reference the files that a text of a running job names, e.g. its result, for as long as the job is kept.

        Raises `FilesUnavailable`.
        """
        if ID_PREFIX in text:
            await self._file_references.keep(spec, text)

    async def follow_instructions(self, worker_id: str, on_read: Callable[[Instructions], None]) -> None:
        """Call `on_read` with what operators want of a worker each time that it has been read, until cancelled."""
        await follow_instructions(self.store, worker_id, on_read)

    async def known(self, job_ids: Sequence[str]) -> set[str]:
        """Return which of these jobs the store still has."""
        found = await self.store.get(job_ids) if job_ids else []
        return {record.id for record in found if isinstance(record, JobRecord)}

    async def submit_many(
        self,
        calls: Iterable[Call[R]],
        *,
        then: Call[Any] | Sequence[Call[Any]] = (),
        id: str | None = None,  # noqa: A002 - named like the option of a call
        user: str | None = None,
        retention: Duration | None = None,
        trace: str | None = None,
    ) -> Batch[R]:
        """Submit calls as one batch. The end of the batch submits the calls of `then`. The batch is kept for `retention` seconds
        after its end.

        `user` is the user of the batch, and the default of its calls. All calls are checked before the first is submitted. A
        repeat with the same `id`, of calls with ids, submits the missing ones. Rejected calls are listed in the batch; if all are
        rejected, the first rejection is raised. Raises the errors of `submit`, and `JobConflict` if the id is that of another
        user's batch.
        """
        with self.telemetry.tracer.span("send", kind=SpanKind.PRODUCER, parent=trace) as span:
            trace = span.traceparent or trace
            spec = batch_spec(then, batch_id=id, user=user, retention=retention, trace=trace, settings=self.settings)
            for call in then if isinstance(then, Sequence) else (then,):
                check_lane(call, self.registry)
            batch = await submit_batch(spec, map(self._checked, calls), self._file_references, self, trace)
            span.set(batch_attributes(batch.id, len(batch.jobs)))
            return batch

    def _checked(self, call: Call[R]) -> Call[R]:
        check_lane(ensure_call(call), self.registry)
        return call

    def batch(self, batch_id: str) -> Batch[Any]:
        """Return the handle on a batch."""
        return Batch(batch_id, self.store, job_of=self._job_of)

    def job(self, task: Task[..., Any, R], job_id: str, *, created: bool = True) -> Job[R]:
        """Return the typed handle on a job."""
        return Job(job_id, self, task.decode_result, created)

    def _job_of(self, record: JobRecord) -> Job[Any]:
        """Return the handle on a job that was read from the store, typed by its task."""
        task = self.registry.tasks.get(record.spec.task)
        return Job(record.id, self, _unknown_type if task is None else task.decode_result)

    async def record(self, job_id: str) -> JobRecord:
        """Return a job's record. Raises `UnknownJob` or `JobRemoved`."""
        (found,) = await self.store.get([job_id])
        if isinstance(found, Tombstone):
            raise JobRemoved(sentence("Job {job!r} was removed after its retention.", job=job_id), found.user)
        return _found(found, job_id)

    async def find(self, query: Query) -> list[JobRecord]:
        """Return the jobs that match, newest first."""
        return await self.store.list_jobs(query)

    async def wait(self, job_id: str, timeout: float | None = None) -> JobRecord:
        """Wait up to `timeout` seconds for a job to finish and return its record. Raises `ResultNotReady`."""
        end = None if timeout is None else time.monotonic() + timeout
        async with self.store.watch(job_topic(job_id)) as notifications:
            while not (record := await self.record(job_id)).state.finished:
                remaining = MAX_POLL_INTERVAL if end is None else min(MAX_POLL_INTERVAL, end - time.monotonic())
                if remaining <= 0:
                    raise ResultNotReady(f"Job {job_id!r} is still {record.state}.")
                await notifications.wait(remaining)
        return record

    async def result(self, job_id: str, *, timeout: float | None = None) -> str:
        """Wait for a job's result and return its JSON text. Raises `JobFailed`, `JobCancelled` or `ResultNotReady`."""
        record = await self.wait(job_id, timeout)
        if record.state is State.SUCCEEDED:
            return record.result or "null"
        partial = await partial_text(self.store, job_id, self.settings.payload_limit)
        if record.state is State.CANCELLED:
            raise JobCancelled(f"Job {job_id!r} was cancelled.", partial)
        raise JobFailed(record.problem or Problem(), partial, record.last_failure)

    def events(self, job_id: str, after: Cursor | None = None) -> AsyncGenerator[Event, None]:
        """Yield the events of a job's log to its end."""
        return stream_events(self.store, job_id, after)

    async def cancel(self, job_id: str) -> JobRecord:
        """Cancel a job. Raises `UnknownJob`."""
        (record,) = await self.store.cancel([job_id])
        return _found(record, job_id)

    async def requeue(self, job_id: str) -> JobRecord:
        """Queue a finished job again. Raises `UnknownJob` or `JobConflict`."""
        (answer,) = await self.store.requeue([job_id])
        if isinstance(answer, Rejection):
            raise rejection_error(answer)
        return _found(answer, job_id)


def _found(record: JobRecord | None, job_id: str) -> JobRecord:
    if record is None:
        raise UnknownJob(sentence("There is no job {job!r}.", job=job_id))
    return record


def _unknown_type(text: str) -> NoReturn:
    raise TypeError("no task of its name is registered here")
