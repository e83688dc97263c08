"""Forms of jobs: a new job from a task's schema, a copy of a job, and a requeue with other input."""

import json
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus

from fastapi import Response

from sidelane.admin.actions import Status, duplicate_job, requeue_jobs, submit_job
from sidelane.admin.arguments import check_arguments, example_of, fields_of, parse_arguments, schema_of, users_tasks
from sidelane.model.errors import ArgumentsError, JobConflict, SidelaneError, StoreError
from sidelane.model.job import JobRecord, JobSpec
from sidelane.model.options import OptionFields
from sidelane.model.sentence import Sentence, sentence
from sidelane.tasks.registry import AnyTask, Registry
from sidelane.web.dashboard.masking import masked, unmasked
from sidelane.web.dashboard.site import Site, View

SUBMIT, DUPLICATE, REQUEUE = "job.submit", "job.duplicate", "job.requeue"
"""The actions of the three forms."""


def add_pages(site: Site) -> None:
    """Add the forms."""
    site.get("/jobs/new", _new)
    site.post("/jobs/new", _submit, action=SUBMIT, target="task")
    site.get("/jobs/{id}/duplicate", _edit_duplicate)
    site.post("/jobs/{id}/duplicate", _duplicate, action=DUPLICATE)
    site.get("/jobs/{id}/edit", _edit_requeue)
    site.post("/jobs/{id}/edit", _requeue_edited, action=REQUEUE)


async def _new(view: View) -> Response:
    return await _new_page(view, view.query, None)


async def _submit(view: View) -> Response:
    form = {name: str(value) for name, value in (await view.form()).items()}
    task = users_tasks(view.client.registry).get(form.get("task", ""))
    try:
        if task is None:
            raise ArgumentsError(sentence("Choose a task."))
        record = await submit_job(view.client, task, parse_arguments(form.get("arguments", "")), **_options(form))
    except SidelaneError as error:
        view.failed(error)
        return await _new_page(view, form, _expected(error))
    return view.done(sentence("{job}: submitted", job=record.id), to=f"{view.base}jobs/{record.id}")


def _options(form: Mapping[str, str]) -> OptionFields:
    options = OptionFields()
    if user := form.get("user", "").strip():
        options["user"] = user
    if key := form.get("key", "").strip():
        options["key"] = key
    return options


async def _new_page(view: View, form: Mapping[str, str], error: SidelaneError | None) -> Response:
    tasks = users_tasks(view.client.registry)
    name = form.get("task", "")
    task = tasks.get(name)
    schema = {} if task is None else schema_of(task)
    arguments = form.get("arguments") or json.dumps(example_of(schema), indent=2, ensure_ascii=False)
    return await view.page(
        "job_new.html", _status(error), current="jobs", tasks=tasks, task=task, unknown=name if task is None else "",
        schema=schema, fields=fields_of(schema), arguments=arguments, error=error,
        user=form.get("user", ""), key=form.get("key", ""),
    )  # fmt: skip


async def _edit_duplicate(view: View) -> Response:
    return await _edit_page(view, "duplicate", None)


async def _edit_requeue(view: View) -> Response:
    return await _edit_page(view, "edit", None)


async def _duplicate(view: View) -> Response:
    async def act(record: JobRecord, arguments: str) -> tuple[Sentence, str]:
        copy = await duplicate_job(view.client, record.id, arguments)
        return sentence("{job}: submitted, like {other}", job=copy.id, other=record.id), copy.id

    return await _act(view, "duplicate", act)


async def _requeue_edited(view: View) -> Response:
    async def act(record: JobRecord, arguments: str) -> tuple[Sentence, str]:
        (result,) = await requeue_jobs(view.store, [record.id], arguments=arguments)
        message = sentence("{name}: {message}", name=result.name, message=result.message)
        if result.status is not Status.DONE or not record.state.finished:
            raise JobConflict(message)
        return message, record.id

    return await _act(view, "edit", act)


async def _act(view: View, form: str, act: Callable[[JobRecord, str], Awaitable[tuple[Sentence, str]]]) -> Response:
    """Check the input of a form and act on its job. An error shows the form again, with everything that was written."""
    record = await view.client.record(view.path("id"))
    text = str((await view.form()).get("arguments", ""))
    try:
        arguments = unmasked(parse_arguments(text), record.spec.arguments, view.site.options.mask)
        check_arguments(arguments, record.spec, view.client.settings, _known(view, record.spec))
        message, job_id = await act(record, arguments)
    except SidelaneError as error:
        view.failed(error)
        return await _edit_page(view, form, _expected(error), text)
    return view.done(message, to=f"{view.base}jobs/{job_id}")


async def _edit_page(view: View, form: str, error: SidelaneError | None, text: str | None = None) -> Response:
    record = await view.client.record(view.path("id"))
    redacted = masked(json.loads(record.spec.arguments), view.site.options.mask)
    task = _task(view, record.spec)
    schema = {} if task is None else schema_of(task)
    return await view.page(
        "job_edit.html", _status(error), current="jobs", record=record, form=form, error=error, task=task, schema=schema,
        fields=fields_of(schema),
        arguments=json.dumps(redacted, indent=2, ensure_ascii=False) if text is None else text,
    )  # fmt: skip


def _task(view: View, spec: JobSpec) -> AnyTask | None:
    return view.client.registry.tasks.get(spec.task)


def _known(view: View, spec: JobSpec) -> Registry | None:
    """Return the registry if it has the job's task, so that the input can be checked."""
    return None if _task(view, spec) is None else view.client.registry


def _expected(error: SidelaneError) -> SidelaneError:
    """Return an error that the person can correct. Raises the error if the store is away."""
    if isinstance(error, StoreError):
        raise error
    return error


def _status(error: SidelaneError | None) -> int:
    return HTTPStatus.OK if error is None else error.problem().status
