"""Document of a load: its figures as JSON, the share of errors, and what makes the figures doubtful."""

from collections.abc import Iterator
from typing import Any, Final

from sidelane.ops.load.figures import Distribution, HeavyFigures, LoadFigures
from sidelane.ops.load.plan import LoadPlan, plan_document

QUANTILES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99}

MAX_ERROR_SHARE: Final = 0.01
"""The share of requests that may fail before a load counts as failed."""

BUSY_CPU: Final = 0.85
"""The share of a core from which on this process delays its own requests."""

MAX_LATENESS: Final = 0.05
"""Seconds that requests may be sent too late, at the 99th percentile."""

AB_CONNECTIONS: Final = 10


def load_document(plan: LoadPlan, figures: LoadFigures) -> dict[str, Any]:
    """Return the figures of a load so far. Durations are seconds, from when a request was due."""
    return {
        "plan": plan_document(plan),
        "seconds": round(figures.seconds, 3),
        "running": figures.ended is None,
        "sent": figures.sent,
        "in_flight": figures.in_flight,
        "light": _light(plan, figures) if plan.light else None,
        "heavy": [{"route": f"POST {path}", **_heavy(each, figures.seconds)} for path, each in figures.heavy.items()],
        "outcomes": dict(figures.outcomes),
        "events": figures.events,
        "tokens": figures.tokens,
        "tokens_per_second": _per_second(figures.tokens, figures.seconds),
        "stream_tokens_per_second": _quantiles(figures.tokens_per_second),
        "resumed": figures.resumed,
        "refused": {str(status): times for status, times in sorted(figures.refused.items())},
        "errors": dict(figures.errors.most_common()),
        "error_share": round(error_share(figures), 4),
        "client": {"cpu": figures.cpu, "lateness_p99": figures.lateness.quantile(0.99)},
        "notes": list(_notes(figures)),
    }


def error_share(figures: LoadFigures) -> float:
    """Return the share of requests that failed. Refused ones count if they were never accepted."""
    return sum(figures.errors.values()) / figures.sent if figures.sent else 0.0


def ab_command(plan: LoadPlan) -> str:
    """Return the command of Apache Bench for the light route."""
    requests = max(plan.light_requests, AB_CONNECTIONS)
    return f"ab -n {requests} -c {AB_CONNECTIONS} {plan.url.rstrip('/')}{plan.light}"


def _light(plan: LoadPlan, figures: LoadFigures) -> dict[str, Any]:
    idle, under_load = figures.idle.quantile(0.99), figures.light.quantile(0.99)
    return {
        "route": f"GET {plan.light}",
        **_times(figures.light, min(figures.seconds, plan.duration)),  # the light route is not awaited longer
        "idle": _quantiles(figures.idle),
        "ab": ab_command(plan),
        "p99_to_idle": round(under_load / idle, 2) if idle and under_load else None,
    }


def _heavy(figures: HeavyFigures, seconds: float) -> dict[str, Any]:
    return {
        "accepted": _times(figures.accepted, seconds),
        "first_event": _quantiles(figures.first_event),
        "first_token": _quantiles(figures.first_token),
        "end": _times(figures.end, seconds),
    }


def _times(times: Distribution, seconds: float) -> dict[str, Any]:
    return {**_quantiles(times), "per_second": _per_second(times.count, seconds)}


def _quantiles(values: Distribution) -> dict[str, Any]:
    found = {name: values.quantile(q) for name, q in QUANTILES.items()}
    return {"count": values.count, **found, "max": values.max if values.count else None}


def _per_second(count: int, seconds: float) -> float:
    return round(count / seconds, 2) if seconds else 0.0


def _notes(figures: LoadFigures) -> Iterator[str]:
    """Yield what makes the figures doubtful."""
    cpu, lateness = figures.cpu, figures.lateness.quantile(0.99)
    if cpu is not None and cpu > BUSY_CPU:
        yield (
            f"This process used {cpu * 100:.0f} % of a core, so it delayed its own requests. Send less, or let Locust or k6 send "
            "from several processes (--write)."
        )
    elif lateness is not None and lateness > MAX_LATENESS:
        yield (
            f"One request in a hundred was sent more than {lateness * 1000:.0f} ms too late, because this machine is busy. Run the "
            "load on another machine than the service."
        )
    if figures.ended is not None and figures.in_flight:
        yield f"{figures.in_flight} requests had not ended, and count neither as successes nor as errors."
