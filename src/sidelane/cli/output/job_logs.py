"""Log records of a job for people, one below the other, with the number of the attempt before the records of each."""

import json
from datetime import datetime

from rich.text import Text

from sidelane.admin.documents import Document
from sidelane.admin.job_logs import record_fields
from sidelane.cli.output.console import output
from sidelane.cli.output.time_format import timestamp
from sidelane.model.printable import printable_line

STYLES = {"DEBUG": "dim", "INFO": "green", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "bold red"}


class JobLogPrinter:
    """Prints records on stdout as they come."""

    def __init__(self) -> None:
        self._console = output()
        self._attempt = 0

    def __call__(self, record: Document) -> None:
        """Print one record. Its further lines are indented."""
        if record["attempt"] != self._attempt:
            self._attempt = record["attempt"]
            self._print(Text(f"attempt {self._attempt}", "bold"))
        level, logger = printable_line(record["level"]), printable_line(record["logger"])
        line = Text.assemble(
            (timestamp(datetime.fromisoformat(record["time"]).timestamp()), "dim"), " ", (f"{level:8}", STYLES.get(level, "")),
            " ", (f"{logger}: ", "dim"), _indented(record["message"]),
        )  # fmt: skip
        for name, value in record_fields(record).items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            line.append(printable_line(f" {name}={text}"), "dim")
        self._print(line)
        for part in (record.get("exception"), record.get("stack")):
            if part:
                self._print(Text(f"    {_indented(part)}"))

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


def _indented(text: str) -> str:
    return text.rstrip().replace("\n", "\n    ")
