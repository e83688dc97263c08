"""Batch progress: a detail view, a live bar, or JSON lines."""

import time
from typing import Protocol, Self

from rich.live import Live
from rich.text import Text

from sidelane.admin.documents import batch_document
from sidelane.admin.pauses import pause_text
from sidelane.cli.output.console import output, print_json_line, stderr, write
from sidelane.cli.output.job_detail import follow_up_label
from sidelane.cli.output.states import DOTS, STYLES
from sidelane.cli.output.tables import facts_grid
from sidelane.cli.output.time_format import duration, relative_time, timestamp
from sidelane.client.pauses import Pause
from sidelane.model.batch import BatchRecord

MAX_BAR, MIN_BAR = 40, 10
"""Width of a batch's bar in terminal columns."""


class BatchView(Protocol):
    """Shows a batch that is watched."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def show(self, record: BatchRecord) -> None: ...


class BatchLines:
    """Prints one line of JSON for each change; the last line is the end."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def show(self, record: BatchRecord) -> None:
        print_json_line(batch_document(record))


class BatchProgress:
    """Shows a live bar of the jobs by state. The bar stays on the screen when the batch has ended."""

    def __init__(self) -> None:
        self._console = stderr()
        self._record: BatchRecord | None = None
        self._live = Live(console=self._console, get_renderable=self._line, refresh_per_second=4)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, record: BatchRecord) -> None:
        self._record = record
        self._live.refresh()

    def _line(self) -> Text:
        record = self._record
        return Text() if record is None else batch_line(record, time.time(), self._console.width)


def print_batch(record: BatchRecord, pause: Pause | None) -> None:
    """Print the progress of a batch."""
    console, now = output(), time.time()
    write(console, Text.assemble("Batch ", (record.id, "bold"), "  ", batch_state(record)))
    write(console, Text("  ").append(segments(record)).append("  ").append(counts(record)))
    facts = [
        ("user", record.spec.user or ""),
        ("submitted", f"{relative_time(record.submitted, now)}  ({timestamp(record.submitted)})"),
        ("paused", (pause_text(pause, now) or "yes") if record.paused else ""),
        ("sealed", "yes" if record.sealed else "no: jobs may be added"),
        ("ended", "" if record.ended is None else f"{relative_time(record.ended, now)}  ({timestamp(record.ended)})"),
        ("took", "" if record.ended is None else duration(record.ended - record.submitted)),
        *((follow_up_label(each), each.spec.task) for each in record.spec.follow_ups),
        ("retention", duration(record.spec.retention)),
        ("jobs", f"sidelane jobs list --batch {record.id}"),
    ]
    write(console, facts_grid(facts))


def batch_line(record: BatchRecord, now: float, width: int) -> Text:
    """Return the progress of a batch on one line of `width` columns."""
    took = duration((record.ended or now) - record.submitted)
    label = Text("  ").join([Text(), batch_state(record), counts(record), Text(took, "dim")])
    bar = segments(record, max(MIN_BAR, min(MAX_BAR, width - label.cell_len)))
    line = bar.append(label)
    line.truncate(width, overflow="ellipsis")
    return line


def batch_state(record: BatchRecord) -> Text:
    """Return a batch's state, coloured; "paused" while its jobs do not start."""
    if record.paused and record.ended is None:
        return Text("‖ paused", "bold yellow")
    return Text(f"{DOTS[record.state]} {record.state}", STYLES[record.state])


def segments(record: BatchRecord, width: int = MAX_BAR) -> Text:
    """Return a bar of a batch's jobs by state; unfinished ones are grey. Every state with at least one job is visible."""
    kinds = [
        (record.succeeded, "green"),
        (record.failed, "red"),
        (record.cancelled, "magenta"),
        (record.unfinished if record.total else 1, "bright_black"),
    ]
    drawn = [max(1, width * count // max(record.total, 1)) if count else 0 for count, _ in kinds]
    drawn[drawn.index(max(drawn))] += width - sum(drawn)
    return Text.assemble(*(("━" * columns, style) for columns, (_, style) in zip(drawn, kinds, strict=True)))


def counts(record: BatchRecord) -> Text:
    """Return how many jobs of a batch have ended."""
    ended = record.total - record.unfinished
    text = Text(f"{ended:,} of {record.total:,}{'' if record.sealed else ' so far'}")
    for count, name in ((record.failed, "failed"), (record.cancelled, "cancelled")):
        if count:
            text.append(f", {count:,} {name}", STYLES[name])
    return text
