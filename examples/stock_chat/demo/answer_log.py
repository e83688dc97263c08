"""Events of one streamed answer, printed and recorded."""

import time

from rich.console import Console

from examples.stock_chat.demo.failure import expect
from examples.stock_chat.demo.server_events import ServerEvent


class AnswerLog:
    """Prints and records the events of an answer."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self.events: list[ServerEvent] = []  # without the `job` snapshot, which is not in the job's log
        self.links: dict[str, str] = {}
        self.first_token: float | None = None  # seconds after the question
        self.tokens = 0  # of all attempts
        self.text = ""  # of the last attempt

    def add(self, event: ServerEvent) -> None:
        """Record one event of a stream."""
        if event.name == "job":
            self.links = event.data["links"]
            return
        self.events.append(event)
        if event.name == "token":
            self._token(event.data["text"])
        elif event.name == "attempt":
            self.text = ""
            self.note(f"attempt {event.data['attempt']}: another worker starts the answer over")
        elif event.name == "end":
            self.note(f"end: {event.data['state']}")
            problem = event.data.get("problem") or {}
            expect(not problem, f"the answer failed with {problem.get('status')}: {problem.get('detail')}")

    def _token(self, text: str) -> None:
        self.tokens += 1
        self.text += text
        if self.first_token is None:
            self.first_token = time.monotonic() - self._began
        self._console.out(text, end="", style="green", highlight=False)

    def note(self, text: str) -> None:
        """Print a note between the tokens."""
        self._console.print(f"\n[bold]· {text}[/bold]", highlight=False)

    @property
    def last(self) -> ServerEvent:
        return self.events[-1]

    def check(self, result: str) -> None:
        """Raise `DemoFailed` unless every event was received once, in order, to the end, and the text is the job's result."""
        numbers = [event.number for event in self.events]
        expect(numbers == list(range(1, len(numbers) + 1)), f"events are missing or came twice: {numbers}")
        expect(self.events[0].name == "start", f"the stream began with `{self.events[0].name}`, not with `start`")
        expect(self.last.name == "end", "the stream ended without its `end` event")
        expect(self.last.data["state"] == "succeeded", f"the answer did not succeed: {self.last.data}")
        expect(self.text == result, "the streamed text is not the job's result")
