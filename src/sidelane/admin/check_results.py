"""Results of checks: what a check of a lane, its store or its service found, and what to do about it."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad a result is. A warning may cost jobs, time or secrets later; an error stops something now."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class CheckResult:
    """What one check found. `id` is the name of the check; one check may have several results."""

    id: str
    severity: Severity
    message: str
    action: str = ""  # what to do, if anything is wrong


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A check that was not made, and why."""

    id: str
    reason: str


Found = CheckResult | LeftOut


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """The results of all checks, and the checks that were left out. `store` is the store's URL without passwords."""

    store: str | None
    results: tuple[CheckResult, ...]
    left_out: tuple[LeftOut, ...]

    @classmethod
    def of(cls, store: str | None, found: Iterable[Found]) -> "Report":
        found = list(found)
        return cls(
            store=store,
            results=tuple(each for each in found if isinstance(each, CheckResult)),
            left_out=tuple(each for each in found if isinstance(each, LeftOut)),
        )

    @property
    def severity(self) -> Severity:
        """The severity of the worst result."""
        severities = {result.severity for result in self.results}
        return next(
            each for each in (Severity.ERROR, Severity.WARNING, Severity.OK) if each in severities | {Severity.OK}
        )

    def has_error(self, *ids: str) -> bool:
        """Return whether one of these checks found an error."""
        return any(each.id in ids and each.severity is Severity.ERROR for each in self.results)

    def document(self) -> Mapping[str, Any]:
        """Return a JSON document."""
        return {
            "severity": self.severity,
            "store": self.store,
            "results": [asdict(each) for each in self.results],
            "left_out": [asdict(each) for each in self.left_out],
        }


def ok(check: str, message: str) -> CheckResult:
    return CheckResult(check, Severity.OK, message)


def warning(check: str, message: str, action: str) -> CheckResult:
    return CheckResult(check, Severity.WARNING, message, action)


def error(check: str, message: str, action: str) -> CheckResult:
    return CheckResult(check, Severity.ERROR, message, action)
