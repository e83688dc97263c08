"""Figures of a load: live while it runs, and a closing table."""

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from sidelane.cli.output.console import interactive, output, stderr, warning, write
from sidelane.cli.output.tables import Columns, facts_grid, fit_table
from sidelane.cli.output.time_format import duration
from sidelane.model.printable import printable_line

Document = Mapping[str, Any]

TIMES = Columns(
    headers=("ROUTE", "COUNT", "P50", "P95", "P99", "MAX"),
    shrinkable=("ROUTE",),
    numbers=("COUNT", "P50", "P95", "P99", "MAX"),
)

REFRESH = 0.25
"""Seconds between two pictures on a terminal."""

LINE_INTERVAL = 5.0
"""Seconds between two lines without a terminal."""


class LoadScreen:
    """Shows a load while the block runs, on stderr: its table on a terminal, else a line every few seconds."""

    def __init__(self, document: Callable[[], Document]) -> None:
        self._document = document
        self._console = stderr()
        self._live = Live(console=self._console, auto_refresh=False, transient=True)
        self._showing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._showing = asyncio.create_task(self._show_table() if interactive(self._console) else self._print_lines())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._showing is not None:
            self._showing.cancel()
            with suppress(asyncio.CancelledError):
                await self._showing

    async def _show_table(self) -> None:
        with self._live:
            while True:
                document = self._document()
                self._live.update(Group(_progress(document), *_tables(self._console, document)), refresh=True)
                await asyncio.sleep(REFRESH)

    async def _print_lines(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(LINE_INTERVAL)
            passed = Text(f"{time.monotonic() - began:4.0f} s  ", "dim")
            self._console.print(Text.assemble(passed, _progress(self._document())))


def print_load(document: Document) -> None:
    """Print the closing table of a load."""
    console = output()
    write(console, *_tables(console, document))
    for note in document["notes"]:
        stderr().print(warning(note))


def latency(seconds: float | None) -> str:
    """Format a duration: "8.5 ms", "120 ms", "1.24 s", "12.5 s", "2 min 4 s"."""
    if seconds is None:
        return ""
    if seconds < 1:
        milliseconds = seconds * 1000
        return f"{milliseconds:.{0 if milliseconds >= 10 else 1}f} ms"
    if seconds < 10:
        return f"{seconds:.2f} s"
    return f"{seconds:.1f} s" if seconds < 60 else duration(seconds)


def _progress(document: Document) -> Text:
    seconds, total = document["seconds"], document["plan"]["duration"]
    if not seconds:
        return Text("measuring the light route without a load")
    state = f"load for {seconds:.0f} of {total:g} s" if seconds < total else "waiting for what has begun"
    errors = sum(document["errors"].values())
    return Text.assemble(
        (state, "bold"),
        f"  {document['sent']:,} sent, {document['in_flight']:,} in flight, ",
        (f"{errors:,} errors", "red" if errors else ""),
    )


def _tables(console: Console, document: Document) -> Iterator[RenderableType]:
    yield fit_table(console, TIMES, [*_rows(document)])
    yield facts_grid(
        [
            (name, text if isinstance(text, Text) else Text(printable_line(text)))
            for name, text in _facts(document)
            if text
        ]
    )


def _rows(document: Document) -> Iterator[list[Text]]:
    light = document["light"]
    if light is not None:
        yield _row(Text(light["route"], "bold"), light)
        if light["idle"]["count"]:
            yield _row(Text("  before the load", "dim"), light["idle"])
    for route in document["heavy"]:
        yield [Text(route["route"], "bold"), *[Text("")] * 5]
        for name in ("accepted", "first_event", "first_token", "end"):
            if route[name]["count"]:
                yield _row(Text(f"  {name.replace('_', ' ')}"), route[name])


def _row(name: Text, times: Document) -> list[Text]:
    figures = [Text(latency(times[key])) for key in ("p50", "p95", "p99", "max")]
    return [name, Text(f"{times['count']:,}"), *figures]


def _facts(document: Document) -> Iterator[tuple[str, str | Text]]:
    """Yield names with their values, some of which are empty."""
    light, client = document["light"], document["client"]
    requests = "1 request" if document["sent"] == 1 else f"{document['sent']:,} requests"
    yield "sent", f"{requests} in {duration(document['seconds'])}"
    if light is not None:
        ratio = light["p99_to_idle"]
        compared = "" if ratio is None else f"; p99 is {ratio:g} times that before the load"
        yield "light", f"{light['per_second']:.1f} a second{compared}"
        yield "with ab", light["ab"]
    for route in document["heavy"]:
        name = f" of {route['route']}" if len(document["heavy"]) > 1 else ""
        yield "heavy", f"{route['end']['per_second']:.1f} ended a second{name}"
    yield "ended", ", ".join(f"{count:,} {outcome}" for outcome, count in document["outcomes"].items())
    yield "tokens", _tokens(document)
    yield "resumed", f"{document['resumed']:,} streams that broke" if document["resumed"] else ""
    yield "refused", ", ".join(f"{count:,} times {status}" for status, count in document["refused"].items())
    yield "errors", _errors(document)
    if client["cpu"] is not None:
        late = "" if client["lateness_p99"] is None else f", sent {latency(client['lateness_p99'])} late (p99)"
        yield "this client", f"{client['cpu'] * 100:.0f} % of a core{late}"


def _tokens(document: Document) -> str:
    if not document["tokens"]:
        return f"none; {document['events']:,} events" if document["events"] else ""
    stream = document["stream_tokens_per_second"]["p50"]
    each = "" if stream is None else f", {stream:.1f} in the median stream"
    return f"{document['tokens']:,}: {document['tokens_per_second']:.1f} a second{each}"


def _errors(document: Document) -> Text:
    kinds = ", ".join(f"{count:,} {kind}" for kind, count in document["errors"].items())
    return Text(f"{document['error_share'] * 100:.1f} %: {printable_line(kinds)}" if kinds else "", "red")
