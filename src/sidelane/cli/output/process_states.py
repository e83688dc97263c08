"""States of processes in a few words: health, and what a process is busy with."""

from rich.text import Text

from sidelane.model.worker import API, OK, WorkerInfo


def health_text(health: str) -> Text:
    """Return a process's health, coloured."""
    if health == OK:
        return Text("● ok", "green")
    return Text(f"● {health}", "yellow" if health.startswith("drain") else "red")


def load_text(worker: WorkerInfo) -> Text:
    """Return how many jobs run, or for an API process how many event streams are open."""
    if worker.kind == API:
        return Text("1 stream" if worker.streams == 1 else f"{worker.streams:,} streams")
    return Text(f"{worker.running} of {worker.slots}", "" if worker.running < worker.slots else "yellow")
