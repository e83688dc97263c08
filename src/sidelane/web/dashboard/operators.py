"""Operators: who opened a page of the dashboard, and what they may do."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import StrEnum

from sidelane.model.errors import SidelaneError


class Role(StrEnum):
    """What an operator may do: see everything, or also change it."""

    VIEWER = "viewer"
    OPERATOR = "operator"


@dataclass(frozen=True, slots=True)
class Operator:
    """A person who may open the dashboard. `name` is shown in audit lines."""

    name: str
    role: Role = Role.VIEWER


OperatorDependency = Callable[..., Operator | Awaitable[Operator | None] | None]
"""The application's dependency that returns the current operator, or None for a person who may not open the dashboard."""

Permission = Callable[[Operator, str, str], bool]
"""Decides whether an operator may do an action, e.g. "queue.pause", to an object, e.g. the name of the queue."""


class NotAllowed(SidelaneError):
    """This operator may not do that."""

    status = 403


class ForeignRequest(SidelaneError):
    """The request does not come from a page of this dashboard, or the page is too old. Reload the page and try again."""

    status = 403


def by_role(operator: Operator, action: str, target: str) -> bool:
    """Allow every action to operators, and none to viewers."""
    return operator.role is Role.OPERATOR
