"""How a job stands, in a few words: its state as operators name it, its attempts, how long it took, what went wrong."""

from rich.text import Text

from sidelane.cli.output.time_format import duration
from sidelane.model.job import JobRecord, State

STYLES = {
    "queued": "yellow",
    "scheduled": "yellow",
    "retrying": "yellow",
    "parked": "magenta",
    "running": "bold cyan",
    "handed over": "bold cyan",
    "cancelling": "magenta",
    "succeeded": "green",
    "failed": "bold red",
    "cancelled": "magenta",
}

LONGEST = 60
"""Characters of a text that is one of many things on its line."""

BAR = 10
"""Columns of a bar in a table."""

DOTS = {State.QUEUED: "○", State.RUNNING: "◐", State.SUCCEEDED: "✓", State.FAILED: "✗", State.CANCELLED: "⊘"}


def view(record: JobRecord, now: float) -> str:
    """Name a job's state as operators see it: its state, or the view of it that says more."""
    if record.state is State.RUNNING and record.cancel_requested:
        return "cancelling"
    if record.external_lease is not None:
        return "handed over"
    if due_later(record, now) is not None:
        return "retrying" if record.failures else "scheduled"
    if record.state is State.QUEUED and record.waiting_for_limit is not None:
        return "parked"
    return str(record.state)


def state_text(record: JobRecord, now: float) -> Text:
    """Write a job's state, coloured."""
    name = view(record, now)
    return Text(f"{DOTS[record.state]} {name}", STYLES[name])


def due_later(record: JobRecord, now: float) -> float | None:
    """Give the time before which a queued job does not start, where that is still to come."""
    waits = record.state is State.QUEUED and record.due is not None and record.due > now
    return record.due if waits else None


def took(record: JobRecord, now: float) -> str:
    """Write how long the last attempt has run."""
    if record.started is None or (record.ended is None and record.state is not State.RUNNING):
        return ""
    return duration((record.ended if record.ended is not None else now) - record.started)


def attempts(record: JobRecord) -> Text:
    """Write how many attempts there were, and what became of those that did not work."""
    text = Text(str(record.attempt) if record.attempt else "")
    if record.failures:
        text.append(f"  {record.failures} failed", "red")
    if record.worker_losses:
        text.append(f"  {record.worker_losses} lost" + (", isolated" if record.isolated else ""), "yellow")
    return text


def bar(share: float, style: str = "cyan") -> Text:
    """Draw how much of a whole there is, from 0 to 1."""
    done = round(BAR * share)
    return Text.assemble(("━" * done, style), ("━" * (BAR - done), "bright_black"))


def short(text: str, most: int = LONGEST) -> str:
    """Write a text on one line, cut where it is longer."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"
