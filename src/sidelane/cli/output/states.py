"""Job states in a few words: state, attempts, run time, errors."""

from rich.text import Text

from sidelane.admin.jobs import JobView, job_view
from sidelane.cli.output.time_format import duration
from sidelane.model.job import JobRecord, State

STYLES: dict[str, str] = {
    JobView.QUEUED: "yellow",
    JobView.SCHEDULED: "yellow",
    JobView.RETRYING: "yellow",
    JobView.WAITING_FOR_LIMIT: "magenta",
    JobView.PAUSED: "magenta",
    JobView.RUNNING: "bold cyan",
    JobView.DISPATCHED: "bold cyan",
    JobView.CANCELLING: "magenta",
    JobView.SUCCEEDED: "green",
    JobView.FAILED: "bold red",
    JobView.CANCELLED: "magenta",
}

MAX_TEXT = 60
"""Maximum number of characters of a text in a table."""

BAR_WIDTH = 10
"""Columns of a bar in a table."""

DOTS = {State.QUEUED: "○", State.RUNNING: "◐", State.SUCCEEDED: "✓", State.FAILED: "✗", State.CANCELLED: "⊘"}


def state_text(record: JobRecord, now: float) -> Text:
    """Return a job's state, coloured."""
    name = job_view(record, now)
    return Text(f"{DOTS[record.state]} {name}", STYLES[name])


def run_time(record: JobRecord, now: float) -> str:
    """Return how long the last attempt has run, or "" if it never started."""
    if record.started is None or (record.ended is None and record.state is not State.RUNNING):
        return ""
    return duration((record.ended if record.ended is not None else now) - record.started)


def attempts(record: JobRecord) -> Text:
    """Return the number of attempts, of failures and of lost workers."""
    text = Text(str(record.attempt) if record.attempt else "")
    if record.failures:
        text.append(f"  {record.failures} failed", "red")
    if record.worker_losses:
        text.append(f"  {record.worker_losses} lost" + (", isolated" if record.isolated else ""), "yellow")
    return text


def bar(share: float, style: str = "cyan") -> Text:
    """Return a bar for a share from 0 to 1."""
    filled = round(BAR_WIDTH * share)
    return Text.assemble(("━" * filled, style), ("━" * (BAR_WIDTH - filled), "bright_black"))


def one_line(text: str, max_length: int = MAX_TEXT) -> str:
    """Return a text on one line, cut to `max_length` characters."""
    line = " ".join(text.split())
    return line if len(line) <= max_length else f"{line[: max_length - 1]}…"
