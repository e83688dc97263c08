"""Plan of a load: which requests are sent, how many, and for how long."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

POSITIVE = ("rate", "light_rate", "duration", "timeout")
NOT_NEGATIVE = ("think", "ramp", "idle", "wait")

MAX_USERS = 100_000
"""Users, or requests per second. One machine sends far fewer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeavyRoute:
    """A route that answers with a job, to which `body` is posted: JSON text, or None without a body."""

    path: str
    body: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadPlan:
    """A load. Requests to heavy routes begin at a `rate` per second, or are sent by `users`, each of whom waits for the answer.

    `{n}` in paths, bodies and headers is the number of the request, and `{user}` that of the user. With a rate, each request is of
    another user. All durations are seconds. Raises ValueError, whose message names the options of the command line.
    """

    url: str
    heavy: Sequence[HeavyRoute] = ()
    light: str = ""  # the path of a route that answers at once
    rate: float | None = None  # a second
    users: int | None = None
    think: float = 0.0  # on average, between an answer and the next request of a user
    light_rate: float = 10.0
    duration: float = 30.0  # while requests begin; those that have begun are then awaited
    ramp: float = 0.0  # until the rate, or the number of users, is reached
    idle: float = 3.0  # while only the light route is requested, for comparison
    timeout: float = 120.0  # from when a request was due to its end
    stream: bool = False  # follow the event stream
    wait: float | None = None  # `Prefer: wait`
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.port == 0:
            raise ValueError(f"{self.url!r} is not the address of a service: write http://HOST:PORT.")
        if parts.username is not None or parts.query or parts.fragment:
            raise ValueError(
                "The address has no user, query or fragment: write http://HOST:PORT, and use --header for a user."
            )
        self._check_numbers()
        self._check_routes()

    def _check_numbers(self) -> None:
        for name in (*POSITIVE, *NOT_NEGATIVE):
            number: float | None = getattr(self, name)
            zero = name in POSITIVE and number == 0
            if number is not None and (zero or not 0 <= number < math.inf):
                needed = "above 0" if name in POSITIVE else "from 0 on"
                raise ValueError(f"--{name.replace('_', '-')}: {number:g} is not a number {needed}.")
        if self.users is not None and self.users < 1:
            raise ValueError(f"--users: {self.users} is not a number above 0.")
        for name in ("users", "rate", "light_rate"):
            if (getattr(self, name) or 0) > MAX_USERS:
                raise ValueError(f"--{name.replace('_', '-')}: at most {MAX_USERS:,} are possible.")
        if self.ramp > self.duration:
            raise ValueError(f"--ramp: {self.ramp:g} s is longer than --duration, {self.duration:g} s.")

    def _check_routes(self) -> None:
        if not self.heavy and not self.light:
            raise ValueError(
                "Name a route: --post PATH for one that answers with a job, --light PATH for one that answers at once."
            )
        for path in (*(route.path for route in self.heavy), *([self.light] if self.light else [])):
            if not path.startswith("/"):
                raise ValueError(f"{path!r} is not a path of the service: write it from its first slash, e.g. /chat.")
        if not self.heavy and (self.rate or self.users or self.stream or self.wait is not None):
            raise ValueError("--rate, --users, --stream and --wait are about a heavy route: name it with --post PATH.")
        if self.heavy and (self.rate is None) == (self.users is None):
            raise ValueError(
                "Write either --rate, for arrivals that wait for nothing, or --users, who wait for their answers."
            )
        if self.think and self.users is None:
            raise ValueError("--think is the pause of --users; arrivals at a --rate have none.")
        if self.stream and self.wait is not None:
            raise ValueError("Write either --stream or --wait: a request has one kind of answer.")

    @property
    def light_requests(self) -> int:
        """Requests of the light route, without those before the load."""
        return math.ceil(self.light_rate * self.duration) if self.light else 0


def arrivals(rate: float, duration: float, ramp: float = 0.0) -> Iterator[float]:
    """Yield when each request is due, in seconds since the begin: evenly spaced, and with growing speed during `ramp`."""
    in_ramp = rate * ramp / 2
    number = 0
    while True:
        due = math.sqrt(2 * number * ramp / rate) if number < in_ramp else ramp / 2 + number / rate
        if due >= duration:
            return
        yield due
        number += 1


def fill(text: str, number: int, user: int) -> str:
    """Return a template with the numbers of a request and of its user."""
    return text.replace("{n}", str(number)).replace("{user}", str(user))


def plan_document(plan: LoadPlan) -> dict[str, Any]:
    """Return a plan as JSON, without headers, which may be secret."""
    heavy = [{"path": route.path, "body": route.body} for route in plan.heavy]
    names = (
        "url",
        "light",
        "rate",
        "users",
        "think",
        "light_rate",
        "duration",
        "ramp",
        "idle",
        "timeout",
        "stream",
        "wait",
    )
    return {**{name: getattr(plan, name) for name in names}, "heavy": heavy}
