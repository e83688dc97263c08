"""submit: make jobs durable, or answer with the jobs that are there."""

from collections.abc import Sequence

import apsw

from sidelane.model.job import JobSpec, Rejection, Submission
from sidelane.stores.problems import removed_before
from sidelane.stores.sqlite import enqueue
from sidelane.stores.sqlite.admission import Admission
from sidelane.stores.sqlite.bonds import AppliedLimits, applied_limits
from sidelane.stores.sqlite.records import job_record
from sidelane.stores.sqlite.sql import first, scalar
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import ChangeSet
from sidelane.stores.validation import spec_problem

_SQL = statements(__file__)
_BY_UNIQUE = _SQL["by_unique"]
_EXISTS = _SQL["exists"]
_GONE = _SQL["gone"]


def submit(
    connection: apsw.Connection, now: float, touched: ChangeSet, specs: Sequence[JobSpec]
) -> list[Submission | Rejection]:
    """Answer each spec with a job: a new one, or the one that has its id or its unique key; or say what keeps it out."""
    submitting = _Submitting(connection, now, touched)
    answers = [submitting.submit(spec) for spec in specs]
    submitting.write()
    return [
        answer
        if isinstance(answer, Rejection)
        else _submission(connection, answer, submitting.new.pop(answer, None) is spec)
        for spec, answer in zip(specs, answers, strict=True)
    ]


class _Submitting:
    """One submit under way. New jobs are written together, or before one of them could be stopped by the next."""

    def __init__(self, connection: apsw.Connection, now: float, touched: ChangeSet) -> None:
        self.new: dict[str, JobSpec] = {}
        self._connection = connection
        self._now = now
        self._touched = touched
        self._admission = Admission(connection, now)
        self._unwritten: list[tuple[JobSpec, AppliedLimits]] = []
        self._unique: dict[tuple[str, str], str] = {}  # of what is not written

    def submit(self, spec: JobSpec) -> Rejection | str:
        """Give the id of the job that is there or will be."""
        problem = spec_problem(spec)
        if problem:
            return Rejection(problem)
        if spec.id in self.new or first(self._connection, _EXISTS, spec.id):
            return spec.id
        if spec.id_retention > 0 and first(self._connection, _GONE, spec.id):
            return Rejection(removed_before(spec.id))
        holder = self._unique_holder(spec)
        if holder is not None:
            return holder
        bonds = applied_limits(spec.limits)
        refusal = self._admission.refusal(spec, bonds)
        if refusal is not None:
            return refusal
        if bonds.replacing:
            self.write()
            self._admission.stop_older(bonds, self._touched)
        self._admission.take(spec, bonds)
        self.new[spec.id] = spec
        self._unwritten.append((spec, bonds))
        if spec.unique is not None:
            self._unique[spec.user or "", spec.unique] = spec.id
        return spec.id

    def write(self) -> None:
        """Write down what was admitted."""
        enqueue.insert(self._connection, self._unwritten, self._now, self._touched)
        self._admission.settle()
        self._unwritten.clear()
        self._unique.clear()

    def _unique_holder(self, spec: JobSpec) -> str | None:
        """Give the id of the job that has the unique key of this spec."""
        if spec.unique is None:
            return None
        key = (spec.user or "", spec.unique)
        if key in self._unique:
            return self._unique[key]
        holder: str | None = scalar(self._connection, _BY_UNIQUE, *key)
        return holder


def _submission(connection: apsw.Connection, job_id: str, created: bool) -> Submission:
    return Submission(job_record(connection, job_id), created)
