"""A job: why it is as it is, its text as it comes, its attempts side by side, and everything else that is known about it."""

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from fastapi import Response
from fastapi.responses import JSONResponse

from sidelane.admin.actions import cancel_jobs, requeue_jobs
from sidelane.admin.attempt_texts import LogTexts, first_difference, read_texts
from sidelane.admin.documents import Document, parse_json
from sidelane.admin.job_logs import LogPage, newest_logs, record_fields
from sidelane.admin.jobs import JobFilter, job_detail, job_view, situation_of, users_follow_ups
from sidelane.admin.limits import change_in_force
from sidelane.admin.stack import job_stack
from sidelane.admin.timeline import Phase, Stage, attempts_of, stages, tokens_per_second
from sidelane.admin.why import Situation, explain
from sidelane.admin.workers import listeners_of
from sidelane.callbacks.status import callbacks_of
from sidelane.external.outbox import DISPATCH_TASK
from sidelane.files.file import ID
from sidelane.model.durations import duration_text
from sidelane.model.history import NO_USAGE
from sidelane.model.job import JobRecord, Query, State
from sidelane.model.limit import Limit
from sidelane.model.sentence import Sentence, sentence
from sidelane.model.transition import timeline
from sidelane.model.worker import LimitStats
from sidelane.telemetry.events import StreamKind
from sidelane.web.dashboard.masking import masked
from sidelane.web.dashboard.site import HEADERS, Site, View
from sidelane.web.sse import SseResponse, parse_cursor, sse_frames

MAX_CHILDREN: Final = 20
"""Children of a job that its page lists."""

MAX_STAGES: Final = 40
"""Stages of a job that its timeline shows, the newest."""

EVENTS_PER_PAGE: Final = 100

MAX_LOGS: Final = 20
"""Log records that the page of a job shows, the newest among its newest `LOGS_SCANNED` events."""

LOGS_SCANNED: Final = 500

LOGS_PER_PAGE: Final = 200
"""Log records of a page of them, which are searched among `LOGS_PER_PAGE_SCANNED` events."""

LOGS_PER_PAGE_SCANNED: Final = 10_000

PING: Final = 15.0
"""Seconds without an event after which a stream sends a comment."""

UNMASK: Final = "job.unmask"
"""The action that shows hidden fields."""

STACK: Final = "job.stack"
"""The right to ask for the stack of a job. This changes nothing, so it leaves no audit line."""

STAGE_CLASSES: Final = {
    Phase.QUEUED: "slot", Phase.WAITING_FOR_LIMIT: "wait", Phase.PAUSED: "wait", Phase.REPEATED: "lost", Phase.RUNNING: "run",
}  # fmt: skip

_TRACE = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-")


@dataclass(frozen=True, slots=True)
class Bar:
    """A stage in the picture of a timeline: begin and width in percent of the whole, and what it says."""

    begin: float
    width: float
    kind: str
    label: Sentence


def add_pages(site: Site) -> None:
    """Add the page of a job, its raw events, its log records, its stream and its actions."""
    site.get("/jobs/{id}", _job)
    site.get("/jobs/{id}/events", _events)
    site.get("/jobs/{id}/logs", _logs)
    site.get("/jobs/{id}/stream", _stream)
    site.post("/jobs/{id}/cancel", _cancel, action="job.cancel")
    site.post("/jobs/{id}/requeue", _requeue, action="job.requeue")
    site.post("/jobs/{id}/unmask", _unmask, action=UNMASK)
    site.post("/jobs/{id}/stack", _stack, action=None)


async def _job(view: View) -> Response:
    if view.query.get("format") == "json":
        return await _document(view)
    situation, now = await situation_of(view.client, view.path("id")), time.time()
    record = situation.record
    refreshed = "hx-request" in view.request.headers  # the open page keeps its text, which a stream continues
    texts = LogTexts([], None) if refreshed else await read_texts(view.store, record)
    return await view.page(
        "job.html", current="jobs", record=record, spec=record.spec, state_name=job_view(record, now),
        explanation=explain(situation, now), bars=_bars(stages(record, now)[-MAX_STAGES:]), stages=stages(record, now),
        attempts=attempts_of(record), timeline=timeline(record), texts=texts, difference=_difference(texts),
        after=texts.cursor.text(record.id) if texts.cursor else "", limits=_limits(situation),
        listeners=None if record.state.finished else listeners_of(record.id, await view.reads.workers()),
        callbacks=await callbacks_of(view.client, record.id), trace_url=_trace_url(view, record),
        follow_ups=users_follow_ups(record.spec), usage=None if record.usage == NO_USAGE else record.usage,
        rate=tokens_per_second(record), logs=await _newest_logs(view, record), log_fields=_visible_fields(view),
        **await _related(view, record), **_contents(view, record),
    )  # fmt: skip


async def _document(view: View) -> Response:
    """Return the document that `sidelane jobs show --json` prints, without hidden fields."""
    document = (await job_detail(view.client, view.path("id"))).document()
    mask = view.site.options.mask
    document |= {name: masked(document[name], mask) for name in ("arguments", "result")}
    return JSONResponse(document, headers=dict(HEADERS))


async def _newest_logs(view: View, record: JobRecord) -> LogPage | None:
    """Return the newest log records of a job, or None if its task is known to keep none."""
    task = view.client.registry.tasks.get(record.spec.task)
    if task is not None and not task.policy.keep_logs:
        return None
    return await newest_logs(view.store, record.id, limit=MAX_LOGS, scan=LOGS_SCANNED)


def _visible_fields(view: View) -> Callable[[Document], Mapping[str, Any]]:
    """Return a function that returns the fields of a log record, with those hidden that inputs and results hide too."""
    return lambda record: masked(record_fields(record), view.site.options.mask)


async def _logs(view: View) -> Response:
    record, before = await view.client.record(view.path("id")), _before(view)
    page = await newest_logs(view.store, record.id, limit=LOGS_PER_PAGE, scan=LOGS_PER_PAGE_SCANNED, before=before)
    return await view.page(
        "job_logs.html", current="jobs", record=record, logs=page, before=before, log_fields=_visible_fields(view)
    )


async def _stack(view: View) -> Response:
    """Show what a running job does now, as soon as its worker has answered."""
    view.require(STACK, view.path("id"))
    return await view.page("job_stack.html", current="jobs", found=await job_stack(view.client, view.path("id")))


def _before(view: View) -> int | None:
    """Return the number of the event before which a page of the log begins."""
    text = view.query.get("before", "")
    return int(text) if re.fullmatch(r"[0-9]{1,15}", text) else None


async def _events(view: View) -> Response:
    before = _before(view)
    record = await view.client.record(view.path("id"))
    page = await view.store.read_last(record.id, before=before, limit=EVENTS_PER_PAGE)
    events = page.events[::-1] if page else ()
    older = events[-1].number if events and events[-1].number > 1 else None
    return await view.page("job_events.html", current="jobs", record=record, events=events, older=older, before=before)


async def _stream(view: View) -> Response:
    """Send the events of a job after those that the page has, or after the last that the browser has got."""
    record = await view.client.record(view.path("id"))
    position = parse_cursor(view.request.headers.get("last-event-id") or view.query.get("after"), record.id)
    frames = sse_frames(view.store, record, "{}", after=position[1] if position else None, ping=PING)
    streams = view.site.lane.services.api_process.streams
    return SseResponse(frames, headers=dict(HEADERS), stream=streams.track(StreamKind.SSE))


async def _cancel(view: View) -> Response:
    (result,) = await cancel_jobs(view.store, [view.path("id")])
    return view.result(result)


async def _requeue(view: View) -> Response:
    (result,) = await requeue_jobs(view.store, [view.path("id")])
    return view.result(result)


async def _unmask(view: View) -> Response:
    """Show input and result with their hidden fields, on a separate page, which is not updated."""
    record = await view.client.record(view.path("id"))
    view.outcome = "opened the hidden fields"
    return await view.page(
        "job_unmasked.html", current="jobs", record=record, arguments=parse_json(record.spec.arguments),
        result=parse_json(record.result), has_result=record.result is not None,
    )  # fmt: skip


def _contents(view: View, record: JobRecord) -> Mapping[str, Any]:
    """Return what goes in and comes out of a job, without hidden fields."""
    mask = view.site.options.mask
    arguments, result = parse_json(record.spec.arguments), parse_json(record.result)
    redacted, redacted_result = masked(arguments, mask), masked(result, mask)
    return {
        "arguments": redacted,
        "result": redacted_result,
        "hidden": redacted != arguments or redacted_result != result,
        "files": sorted(set(ID.findall(record.spec.arguments + (record.result or "")))),
    }


async def _related(view: View, record: JobRecord) -> Mapping[str, Any]:
    """Return the jobs that a job has submitted, and those that sent it to external workers, newest first."""
    found = await view.store.search_jobs(Query(parent=record.id, limit=10 * MAX_CHILDREN), scan=10 * MAX_CHILDREN)
    own = JobFilter(query=Query())
    children = [child for child in found.records if own.matches(child, time.time())]
    return {
        "children": children[:MAX_CHILDREN],
        "more_children": len(children) > MAX_CHILDREN or found.before is not None,
        "dispatches": [child for child in found.records if child.spec.task == DISPATCH_TASK],
    }


def _limits(situation: Situation) -> Sequence[tuple[Limit, LimitStats | None, int]]:
    """Return the limits of a job, each with how much of it is used now, if that is known, and the number in force."""
    used = {each.id: each for each in situation.limits}
    found = []
    for limit in situation.record.spec.limits:
        change = change_in_force(situation.changed, limit.id)
        found.append((limit, used.get(limit.id), limit.max if change is None else change.override.max))
    return found


def _difference(texts: LogTexts) -> int | None:
    """Return from which word on the newest attempt differs from the one before it."""
    if len(texts.attempts) < 2 or any(each.cut for each in texts.attempts[:2]):
        return None
    return first_difference(texts.attempts[0].text, texts.attempts[1].text)


def _trace_url(view: View, record: JobRecord) -> str | None:
    found = _TRACE.match(record.spec.trace or "")
    pattern = view.site.options.trace_url
    return None if found is None or pattern is None else pattern.replace("{trace_id}", found[1])


def _bars(newest: Sequence[Stage]) -> list[Bar]:
    """Return the picture of a timeline."""
    if not newest:
        return []
    begin, whole = newest[0].since, max(newest[-1].until - newest[0].since, 0.001)
    return [
        Bar(
            begin=round(100 * (stage.since - begin) / whole, 2), width=round(max(0.3, 100 * stage.seconds / whole), 2),
            kind=_kind(stage), label=_label(stage),
        )
        for stage in newest
    ]  # fmt: skip


def _kind(stage: Stage) -> str:
    failed = stage.attempt is not None and stage.attempt.end == State.FAILED
    return STAGE_CLASSES[Phase.REPEATED if failed else stage.phase]


def _label(stage: Stage) -> Sentence:
    seconds, attempt = duration_text(stage.seconds), stage.attempt
    if stage.phase is Phase.WAITING_FOR_LIMIT:
        return sentence("limit {limit}, {time}", limit=stage.limit, time=seconds)
    if stage.phase is Phase.PAUSED:
        return sentence("batch paused, {time}", time=seconds)
    if attempt is None:
        return sentence("waited {time}", time=seconds)
    number = attempt.number
    if stage.phase is Phase.REPEATED:
        return sentence("attempt {number}, {end} after {time}", number=number, end=sentence(attempt.end), time=seconds)
    if attempt.first_event is None:
        return sentence("attempt {number}, {time}", number=number, time=seconds)
    first = duration_text(attempt.first_event - attempt.started)
    return sentence("attempt {number}, {time}, first event after {first}", number=number, time=seconds, first=first)
