"""submit: make jobs durable, or answer with the jobs that are there."""

from collections.abc import Sequence

import apsw

from sidelane.model.job import JobSpec, Refusal, Submission
from sidelane.stores.checking import problem_with
from sidelane.stores.sqlite import arrivals
from sidelane.stores.sqlite.records import the_record
from sidelane.stores.sqlite.rows import first_row, only_value
from sidelane.stores.sqlite.statements import statements
from sidelane.stores.sqlite.touched import Touched

_SQL = statements(__file__)
_BY_UNIQUE = _SQL["by_unique"]
_EXISTS = _SQL["exists"]


def submit(
    connection: apsw.Connection, now: float, touched: Touched, specs: Sequence[JobSpec]
) -> list[Submission | Refusal]:
    """Answer each spec with a job: a new one, or the one that has its id or its unique key."""
    answers: list[Refusal | str] = []  # the id of the job, where there is one
    new: dict[str, JobSpec] = {}
    unique: dict[tuple[str, str], str] = {}  # of the new ones
    for spec in specs:
        problem = problem_with(spec)
        if problem:
            answers.append(Refusal(problem))
            continue
        holder = _holder(connection, spec, new, unique)
        if holder is None:
            holder = spec.id
            new[spec.id] = spec
            if spec.unique is not None:
                unique[spec.user or "", spec.unique] = spec.id
        answers.append(holder)
    arrivals.insert(connection, list(new.values()), now, touched)
    return [
        answer if isinstance(answer, Refusal) else _submission(connection, answer, new.get(answer) is spec)
        for spec, answer in zip(specs, answers, strict=True)
    ]


def _holder(
    connection: apsw.Connection, spec: JobSpec, new: dict[str, JobSpec], unique: dict[tuple[str, str], str]
) -> str | None:
    """Give the id of the job that stands for this spec already: by its id first, then by its unique key."""
    if spec.id in new or first_row(connection, _EXISTS, spec.id):
        return spec.id
    if spec.unique is None:
        return None
    key = (spec.user or "", spec.unique)
    if key in unique:
        return unique[key]
    holder: str | None = only_value(connection, _BY_UNIQUE, *key)
    return holder


def _submission(connection: apsw.Connection, job_id: str, created: bool) -> Submission:
    return Submission(the_record(connection, job_id), created)
