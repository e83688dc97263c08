"""submit: make jobs durable, or return existing ones. New jobs pass the checks of their batch, queue and limits (rule 14)."""

from collections import Counter
from collections.abc import Mapping, Sequence
from http import HTTPStatus

from sidelane.model.history import Count
from sidelane.model.job import JobSpec, Rejection, Submission
from sidelane.stores.problems import batch_sealed, batch_unknown, limit_hit, queue_full, removed_before
from sidelane.stores.sqlite import enqueue, history
from sidelane.stores.sqlite.finalize import cancel_job, run_post_actions
from sidelane.stores.sqlite.history import Amount
from sidelane.stores.sqlite.limits import AppliedLimits, LimitCapacity, applied_limits
from sidelane.stores.sqlite.rows import job_record, row_by_seq
from sidelane.stores.sqlite.sql import Transaction, statements
from sidelane.stores.sqlite.throughput import current_rate
from sidelane.stores.validation import spec_problem

SQL = statements(__file__)

_REFUSALS: Mapping[int, Count] = {
    HTTPStatus.SERVICE_UNAVAILABLE: Count.REFUSED_QUEUE_FULL,
    HTTPStatus.TOO_MANY_REQUESTS: Count.REFUSED_LIMIT,
}
_MAX_REPLACED = 200  # older jobs that one call cancels beyond one for each new job


def submit(tx: Transaction, specs: Sequence[JobSpec]) -> list[Submission | Rejection]:
    """Return for each spec a new job, the existing job with its id or unique key, or the reason of its rejection."""
    submit = _Submit(tx)
    results = [submit.add(spec) for spec in specs]
    submit.flush()
    return [
        result
        if isinstance(result, Rejection)
        else Submission(job_record(tx, result), submit.new.pop(result, None) is spec)
        for spec, result in zip(specs, results, strict=True)
    ]


class _Submit:
    """One submit in progress. New jobs are written together, but before the next job may replace one of them."""

    def __init__(self, tx: Transaction) -> None:
        self.new: dict[str, JobSpec] = {}
        self._tx = tx
        self._admission = _Admission(tx)
        self._unwritten: list[tuple[JobSpec, AppliedLimits]] = []
        self._unique: dict[tuple[str, str], str] = {}  # by user and unique key, of unwritten jobs

    def add(self, spec: JobSpec) -> Rejection | str:
        """Return the id of the existing or new job."""
        problem = spec_problem(spec)
        if problem:
            return Rejection(problem)
        if spec.id in self.new or self._tx.first(SQL.exists, spec.id):
            return spec.id
        if spec.id_retention > 0 and self._tx.first(SQL.was_removed, spec.id):
            return self._rejected(spec, Rejection(removed_before(spec.id)))
        holder = self._unique_holder(spec)
        if holder is not None:
            return holder
        applied = applied_limits(spec.limits)
        rejection = self._admission.check(spec, applied)
        if rejection is not None:
            return self._rejected(spec, rejection)
        if applied.replacing:
            self.flush()
            self._admission.cancel_replaced(applied)
        self._admission.admit(spec, applied)
        self.new[spec.id] = spec
        self._unwritten.append((spec, applied))
        if spec.unique is not None:
            self._unique[spec.user or "", spec.unique] = spec.id
        return spec.id

    def flush(self) -> None:
        """Write the new jobs."""
        enqueue.insert(self._tx, self._unwritten)
        self._admission.flush()
        self._unwritten.clear()
        self._unique.clear()

    def _rejected(self, spec: JobSpec, rejection: Rejection) -> Rejection:
        """Count a rejection, and return it."""
        series = history.series_id(self._tx, spec.queue, spec.task)
        history.count(self._tx, series, _REFUSALS.get(rejection.problem.status, Count.REFUSED_OTHER))
        history.count_user(self._tx, spec.user or "", Amount.REFUSED)
        return rejection

    def _unique_holder(self, spec: JobSpec) -> str | None:
        """Return the id of the unfinished job that has the unique key of this spec."""
        if spec.unique is None:
            return None
        key = (spec.user or "", spec.unique)
        if key in self._unique:
            return self._unique[key]
        holder: str | None = self._tx.scalar(SQL.unique_holder, *key)
        return holder


class _Admission:
    """Admission of new jobs.

    All limits are checked before any is counted. Jobs that are not in the tables yet are counted until `flush`.
    """

    def __init__(self, tx: Transaction) -> None:
        self._tx = tx
        self._capacity = LimitCapacity(tx)
        self._unwritten: Counter[str] = Counter()  # by queue
        self._queued: dict[tuple[str, int], int] = {}  # by queue and maximum
        self._replaced = 0

    def check(self, spec: JobSpec, applied: AppliedLimits) -> Rejection | None:
        """Return why a new job is rejected, or None."""
        if spec.batch is not None:
            found = self._tx.first(SQL.is_batch_sealed, spec.batch)
            if found is None:
                return Rejection(batch_unknown(spec.batch))
            if found[0]:
                return Rejection(batch_sealed(spec.batch))
        if spec.max_queued is not None and self._is_full(spec.queue, spec.max_queued):
            return queue_full(spec.queue, spec.max_queued, current_rate(self._tx, spec.queue))
        exceeded = self._capacity.exceeded(applied.at_submit)
        return limit_hit(exceeded) if exceeded else None

    def admit(self, spec: JobSpec, applied: AppliedLimits) -> None:
        """Count a new job."""
        self._unwritten[spec.queue] += 1
        self._capacity.take(applied.at_submit)

    def cancel_replaced(self, applied: AppliedLimits) -> None:
        """Cancel the oldest written jobs of each limit that replaces, and their children, as many as a new job requires.

        If there are very many, because the limit had more slots before, later jobs cancel the remaining ones.
        """
        for each in applied.replacing:
            maximum = 1 + _MAX_REPLACED - self._replaced
            slots = self._capacity.in_force.of(each.limit).max
            replaced = self._tx.all(SQL.replaced, each.id, slots, maximum)
            self._replaced += max(0, len(replaced) - 1)
            for (seq,) in replaced:
                cancel_job(self._tx, row_by_seq(self._tx, seq))
        run_post_actions(
            self._tx
        )  # the checks of the next job see their children cancelled, and the follow-ups of these

    def flush(self) -> None:
        """Write rates, and count again, after the new jobs have been written."""
        self._capacity.flush()
        self._unwritten.clear()
        self._queued.clear()

    def _is_full(self, queue: str, maximum: int) -> bool:
        key = (queue, maximum)
        if key not in self._queued:
            self._queued[key] = int(self._tx.scalar(SQL.count_queued, *key))
        return self._queued[key] + self._unwritten[queue] >= maximum
