"""One finding: a sentence that says what needs a person, with evidence in figures and one action."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any
from urllib.parse import urlencode

from sidelane.admin.documents import time_text
from sidelane.model.sentence import Sentence, sentence


class Severity(StrEnum):
    """How soon a person should act: users wait or lose work now, something will break, or something is good to know."""

    URGENT = "urgent"
    SOON = "soon"
    INFO = "info"


RANKS = {severity: rank for rank, severity in enumerate(Severity)}

MARKS = {Severity.URGENT: "!!", Severity.SOON: "!", Severity.INFO: "."}
"""How lists and alerts mark findings."""


@dataclass(frozen=True, slots=True)
class Action:
    """What to do about a finding, in words that name object and number, and the command that does or shows it.

    `page` is the dashboard's page that shows the same, e.g. "jobs?queue=chat", or empty. If the action changes something, `does` is
    its name, e.g. "job.cancel", `target` is the object that it changes, and a POST to `page` does it.
    """

    text: Sentence
    command: str
    page: str = ""
    does: str = ""
    target: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """What needs a person. `key` is the same as long as the finding is about the same thing.

    `since` is in seconds since 1970, and None until it is known. `cause` is the key of the finding that causes this one.
    """

    key: str
    severity: Severity
    sentence: Sentence
    evidence: Sequence[Sentence]
    action: Action
    since: float | None = None
    cause: str | None = None
    muted_until: float | None = None

    @property
    def evidence_text(self) -> str:
        return " ".join(map(str, self.evidence))

    def document(self) -> Mapping[str, Any]:
        """Return a JSON document."""
        return {
            "key": self.key,
            "severity": self.severity,
            "sentence": str(self.sentence),
            "evidence": self.evidence_text,
            "since": time_text(self.since),
            "cause": self.cause,
            "action": {"text": str(self.action.text), "command": self.action.command},
            "muted_until": time_text(self.muted_until),
        }


def page_of(path: str, **fields: str) -> str:
    """Return a page of the dashboard that shows the objects with these fields, e.g. `page_of("jobs", queue="chat")`."""
    return f"{path}?{urlencode(fields)}"


def cancel_job(job_id: str) -> Action:
    """Return the action that cancels a job."""
    text = sentence("Cancel job {job}", job=job_id)
    return Action(text, f"sidelane jobs cancel {job_id}", f"jobs/{job_id}/cancel", "job.cancel", job_id)


def worst_first(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings by severity, causes before their effects, and older ones first. Muted ones are last."""

    def order(each: Finding) -> tuple[bool, int, bool, float, str]:
        return each.muted_until is not None, RANKS[each.severity], each.cause is not None, each.since or 0.0, each.key

    return sorted(findings, key=order)


def digest(*texts: str) -> str:
    """Return a few characters that stand for texts in a key."""
    return sha256("\0".join(texts).encode(errors="surrogatepass")).hexdigest()[:8]
