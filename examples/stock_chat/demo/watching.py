"""What has been seen of one answer, and what it looked like on the console."""

import time

from rich.console import Console

from examples.stock_chat.demo.failure import expect
from examples.stock_chat.demo.stream import ServerEvent


class Watched:
    """Shows an answer's events as they come, and keeps them."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._began = time.monotonic()
        self.events: list[ServerEvent] = []  # those of the job's log; the snapshot that comes first is not in it
        self.links: dict[str, str] = {}
        self.first_token: float | None = None  # seconds after the question
        self.tokens = 0  # of all attempts
        self.text = ""  # of the last attempt

    def see(self, event: ServerEvent) -> None:
        """Take one event of a stream."""
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

    def note(self, words: str) -> None:
        """Say something between the tokens."""
        self._console.print(f"\n[bold]· {words}[/bold]", highlight=False)

    @property
    def last(self) -> ServerEvent:
        return self.events[-1]

    def check(self, result: str) -> None:
        """Raise `DemoFailed` unless every event came once, in order, up to the end, and the text is the job's result."""
        numbers = [event.number for event in self.events]
        expect(numbers == list(range(1, len(numbers) + 1)), f"events are missing or came twice: {numbers}")
        expect(self.events[0].name == "start", f"the stream began with `{self.events[0].name}`, not with `start`")
        expect(self.last.name == "end", "the stream ended without its `end` event")
        expect(self.last.data["state"] == "succeeded", f"the answer did not succeed: {self.last.data}")
        expect(self.text == result, "the streamed text is not the job's result")
