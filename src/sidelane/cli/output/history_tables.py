"""Tables of the history of queues and tasks, with small charts."""

from collections.abc import Mapping

from rich.console import Console
from rich.text import Text

from sidelane.admin.figures import Chart, Figures, History, Quantiles
from sidelane.cli.output.console import output, stderr, write
from sidelane.cli.output.sparkline import sparkline
from sidelane.cli.output.tables import Columns, fit_table
from sidelane.cli.output.time_format import duration, timestamp
from sidelane.model.history import Count

CHART_WIDTH = 18
"""Characters of a chart."""

QUEUES = Columns(
    headers=("NAME", "STARTS", "STARTED", "FAILED", "REFUSED", "WAIT P50", "P95", "MOST READY"),
    droppable=("REFUSED", "WAIT P50"),
    shrinkable=("NAME",),
    numbers=("STARTED", "FAILED", "REFUSED", "WAIT P50", "P95", "MOST READY"),
)

TASKS = Columns(
    headers=("NAME", "STARTS", "STARTED", "FAILED", "WAIT P95", "RUN P50", "P95", "FIRST P95", "TOKENS/S"),
    droppable=("TOKENS/S", "WAIT P95", "FIRST P95"),
    shrinkable=("NAME",),
    numbers=("STARTED", "FAILED", "WAIT P95", "RUN P50", "P95", "FIRST P95", "TOKENS/S"),
)


def print_queues(history: History) -> None:
    """Print one line for each queue, and the releases that began to run jobs."""
    console = output()
    rows = [_queue_row(console, name, chart) for name, chart in history.by_queue().items()]
    _print(console, history, QUEUES, rows)


def print_tasks(history: History, charts: Mapping[str, Chart]) -> None:
    """Print one line for each task, below it one for each of its releases if it has several, and the releases that began."""
    console = output()
    rows: list[list[Text]] = []
    for name, chart in charts.items():
        starts = sparkline(console, chart.values(Count.STARTED), CHART_WIDTH)
        rows.append(_task_row(Text(name, "bold"), Text(starts, "cyan"), chart.figures))
        releases = {release: figures for release, figures in chart.releases.items() if release}
        if len(releases) > 1:
            rows += [_task_row(Text(f"  {release}", "dim"), Text(""), each) for release, each in releases.items()]
    _print(console, history, TASKS, rows)


def _print(console: Console, history: History, columns: Columns, rows: list[list[Text]]) -> None:
    if not rows:
        stderr().print(f"Nothing has happened since {timestamp(history.period.since)}.", style="dim")
        return
    write(console, fit_table(console, columns, rows))
    for mark in history.release_marks():
        console.print(Text.assemble(("release ", "dim"), mark.release, (f" since {timestamp(mark.at)[:16]}", "dim")))


def _queue_row(console: Console, name: str, chart: Chart) -> list[Text]:
    figures = chart.figures
    return [
        Text(name, "bold"),
        Text(sparkline(console, chart.values(Count.STARTED), CHART_WIDTH), "cyan"),
        _number(figures.count(Count.STARTED)),
        _failed(figures),
        _number(figures.refused, "yellow"),
        _duration(figures.wait, "p50"),
        _duration(figures.wait, "p95"),
        _number(figures.count(Count.MAX_READY)),
    ]


def _task_row(name: Text, chart: Text, figures: Figures) -> list[Text]:
    tokens = figures.tokens_per_second
    return [
        name,
        chart,
        _number(figures.count(Count.STARTED)),
        _failed(figures),
        _duration(figures.wait, "p95"),
        _duration(figures.run, "p50"),
        _duration(figures.run, "p95"),
        _duration(figures.first_event, "p95"),
        Text("" if tokens is None else f"{tokens:.0f}"),
    ]


def _failed(figures: Figures) -> Text:
    share = figures.failed_share
    return Text("") if share is None else Text(f"{share * 100:.1f} %", "bold red" if share else "dim")


def _duration(quantiles: Quantiles | None, name: str) -> Text:
    return Text("" if quantiles is None else duration(getattr(quantiles, name)))


def _number(count: int, style: str = "") -> Text:
    return Text(f"{count:,}", style if count else "dim")
