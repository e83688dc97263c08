"""Grafana and Prometheus: a dashboard of the metrics, and alert rules."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sidelane.ops.deploy.alert_rules import rules_text
from sidelane.ops.deploy.facts import DeployFile

WIDTH, HEIGHT = 8, 8
"""Columns of a panel, of the 24 that a row has, and its lines."""

RANGE = "[$__rate_interval]"

JOB = 'job=~"$job"'
CALLBACKS = 'queue="sidelane.callbacks"'
OUTPUT = 'direction="output"'


@dataclass(frozen=True, slots=True)
class Panel:
    """A chart over time. `queries` are expressions with their legends; `unit` is one of Grafana's."""

    title: str
    unit: str
    queries: Sequence[tuple[str, str]]


def gauge(metric: str, by: str = "", *matchers: str) -> str:
    """Return a gauge of the store. Each API process exposes the same value, so the largest is taken, not the sum."""
    return f"max by ({by}) ({_selector(metric, *matchers)})"


def rate(metric: str, by: str = "", *matchers: str) -> str:
    """Return the rate of a counter of the store."""
    return f"sum by ({by}) (max without (instance, pod) (rate({_selector(metric, *matchers)}{RANGE})))"


def quantiles(metric: str, by: str, *of: float) -> list[tuple[str, str]]:
    """Return quantiles of a histogram of the store, with their legends."""
    buckets = f"sum by ({by}, le) (max without (instance, pod) (rate({_selector(f'{metric}_bucket')}{RANGE})))"
    return [(f"histogram_quantile({q}, {buckets})", f"{{{{{by}}}}} p{q * 100:g}") for q in of]


def each(metric: str, by: str, *matchers: str) -> str:
    """Return the sum of a gauge over processes."""
    return f"sum by ({by}) ({_selector(metric, *matchers)})"


def each_rate(metric: str, by: str, *matchers: str) -> str:
    """Return the rate of a counter of processes, added up."""
    return f"sum by ({by}) (rate({_selector(metric, *matchers)}{RANGE}))"


def each_quantile(metric: str, by: str, q: float) -> str:
    """Return a quantile of a histogram of processes."""
    return f"histogram_quantile({q}, sum by ({by}, le) (rate({_selector(f'{metric}_bucket')}{RANGE})))"


def _selector(metric: str, *matchers: str) -> str:
    return f"{metric}{{{', '.join((JOB, *matchers))}}}"


ROWS: Final[dict[str, Sequence[Panel]]] = {
    "Queues": (
        Panel("Ready jobs", "short", [(gauge("sidelane_queue_jobs", "queue", 'state="ready"'), "{{queue}}")]),
        Panel("Longest wait of a user, and target", "s", [
            (gauge("sidelane_queue_head_wait_seconds", "queue"), "{{queue}}"),
            (gauge("sidelane_queue_target_wait_seconds", "queue"), "{{queue}} target"),
        ]),
        Panel("Age of the oldest ready job", "s", [(gauge("sidelane_queue_oldest_seconds", "queue"), "{{queue}}")]),
        Panel("Wait", "s", quantiles("sidelane_job_wait_seconds", "queue", 0.5, 0.95, 0.99)),
        Panel("Wait: estimated, and p95 of those that started", "s", [
            (gauge("sidelane_queue_estimated_wait_seconds", "queue"), "{{queue}} estimated"),
            *quantiles("sidelane_job_wait_seconds", "queue", 0.95),
        ]),
        Panel("Jobs that wait for a limit", "short", [
            (gauge("sidelane_limit_waiting_jobs", "limit"), "{{limit}}"),
        ]),
        Panel("Arrivals and starts", "ops", [
            (rate("sidelane_jobs_submitted_total", "queue"), "{{queue}} submitted"),
            (rate("sidelane_attempts_started_total", "queue"), "{{queue}} started"),
        ]),
        Panel("Refused submits", "ops", [(rate("sidelane_jobs_refused_total", "queue, reason"), "{{queue}} {{reason}}")]),
        Panel("Delayed and isolated jobs", "short", [
            (gauge("sidelane_queue_jobs", "queue", 'state="delayed"'), "{{queue}} delayed"),
            (gauge("sidelane_queue_isolated_jobs", "queue"), "{{queue}} isolated"),
        ]),
    ),
    "Tasks": (
        Panel("Ends of jobs", "ops", [(rate("sidelane_jobs_ended_total", "outcome"), "{{outcome}}")]),
        Panel("Failed jobs by task", "ops", [
            (rate("sidelane_jobs_ended_total", "task", 'outcome="failed"'), "{{task}}"),
        ]),
        Panel("Retries, losses, releases, throttled", "ops", [
            (rate("sidelane_attempts_retried_total"), "retried"),
            (rate("sidelane_attempts_lost_total"), "worker lost"),
            (rate("sidelane_attempts_released_total"), "handed back"),
            (rate("sidelane_attempts_throttled_total"), "throttled by a provider"),
        ]),
        Panel("Run time", "s", quantiles("sidelane_attempt_run_seconds", "task", 0.5, 0.95)),
        Panel("Time to first event", "s", quantiles("sidelane_attempt_first_event_seconds", "task", 0.5, 0.95)),
        Panel("Tokens per second of a stream", "short", [(
            f"{rate('sidelane_tokens_total', 'task', OUTPUT)} / {rate('sidelane_stream_seconds_total', 'task')}",
            "{{task}}",
        )]),
        Panel("Tokens", "ops", [(rate("sidelane_tokens_total", "task, direction"), "{{task}} {{direction}}")]),
        Panel("Cost per hour", "short", [(f"{rate('sidelane_cost_total', 'task')} * 3600", "{{task}}")]),
        Panel("Dead letters that are kept", "short", [(gauge("sidelane_store_dead_letters"), "dead letters")]),
    ),
    "Workers": (
        Panel("Slots", "short", [
            (gauge("sidelane_worker_slots_used"), "used"),
            (gauge("sidelane_worker_slots"), "all"),
        ]),
        Panel("Workers by health and release", "short", [
            (gauge("sidelane_workers", "health, release"), "{{health}} {{release}}"),
        ]),
        Panel("Workers of each queue", "short", [(gauge("sidelane_queue_workers", "queue"), "{{queue}}")]),
        Panel("Memory of processes", "bytes", [(each("sidelane_process_memory_bytes", "process"), "{{process}}")]),
        Panel("CPU of processes", "percentunit", [
            (each_rate("sidelane_process_cpu_seconds_total", "process"), "{{process}}"),
        ]),
        Panel("Lag of event loops", "s", [(each("sidelane_process_loop_lag_seconds", "process"), "{{process}}")]),
    ),
    "HTTP and streams": (
        Panel("Requests by status", "reqps", [(each_rate("sidelane_requests_total", "status"), "{{status}}")]),
        Panel("Request time p95", "s", [(each_quantile("sidelane_request_seconds", "route", 0.95), "{{route}}")]),
        Panel("Responses 503", "reqps", [(each_rate("sidelane_requests_total", "route", 'status="503"'), "{{route}}")]),
        Panel("Open streams", "short", [(each("sidelane_streams", "kind"), "{{kind}}")]),
        Panel("Streams opened, resumed, slow", "ops", [
            (each_rate("sidelane_streams_opened_total", "kind"), "{{kind}} opened"),
            (each_rate("sidelane_streams_resumed_total", "kind"), "{{kind}} resumed"),
            (each_rate("sidelane_streams_slow_total", "kind"), "{{kind}} slow"),
        ]),
        Panel("Bytes of events", "Bps", [(each_rate("sidelane_event_bytes_total", "process"), "{{process}}")]),
    ),
    "Callbacks and messages": (
        Panel("Callbacks by outcome", "ops", [
            (rate("sidelane_jobs_ended_total", "outcome", CALLBACKS), "{{outcome}}"),
            (each_rate("sidelane_callback_attempts_total", "kind, result"), "try: {{kind}} {{result}}"),
        ]),
        Panel("Age of the oldest callback that waits", "s", [
            (gauge("sidelane_queue_oldest_seconds", "", CALLBACKS), "oldest"),
        ]),
        Panel("Requests to SQS and Pub/Sub", "ops", [
            (each_rate("sidelane_message_requests_total", "endpoint, action"), "{{endpoint}} {{action}}"),
        ]),
    ),
    "Store": (
        Panel("Time of calls to the store p95", "s", [
            (each_quantile("sidelane_store_call_seconds", "call", 0.95), "{{call}}"),
        ]),
        Panel("Failed calls", "ops", [(each_rate("sidelane_store_call_errors_total", "call"), "{{call}}")]),
        Panel("Size", "bytes", [
            (gauge("sidelane_store_size_bytes"), "size"),
            (gauge("sidelane_store_wal_size_bytes"), "write-ahead log"),
            (gauge("sidelane_store_server_memory_bytes"), "memory of the server"),
            (gauge("sidelane_store_disk_free_bytes"), "free disk"),
        ]),
        Panel("Kept jobs", "short", [(gauge("sidelane_store_jobs"), "jobs")]),
        Panel("Findings", "short", [(gauge("sidelane_findings", "severity"), "{{severity}}")]),
    ),
}  # fmt: skip
"""The panels of the dashboard by row."""


def grafana_files(service: str) -> list[DeployFile]:
    """Return the dashboard of a service, and its alert rules."""
    dashboard = json.dumps(_dashboard(service), indent=2, ensure_ascii=False)
    return [
        DeployFile("grafana-dashboard.json", f"{dashboard}\n"),
        DeployFile("prometheus-alerts.yaml", rules_text(service)),
    ]


def _dashboard(name: str) -> dict[str, Any]:
    panels = [{"id": number, **panel} for number, panel in enumerate(_panels(), 1)]
    return {
        "title": f"Sidelane: {name}",
        "uid": f"sidelane-{name}",
        "tags": ["sidelane"],
        "schemaVersion": 39,
        "editable": True,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {
            "list": [
                {"type": "datasource", "name": "datasource", "label": "Prometheus", "query": "prometheus"},
                {
                    "type": "query",
                    "name": "job",
                    "label": "Scrape job",
                    "datasource": _DATASOURCE,
                    "query": 'label_values({__name__=~"sidelane_store_info|sidelane_process_memory_bytes"}, job)',
                    "refresh": 2,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                },
            ]
        },
        "panels": panels,
    }


_DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}


def _panels() -> Iterator[dict[str, Any]]:
    """Yield rows and panels with their positions."""
    y = 0
    for title, panels in ROWS.items():
        yield {
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": {"x": 0, "y": y, "w": 24, "h": 1},
            "panels": [],
        }
        y += 1
        for number, panel in enumerate(panels):
            x = WIDTH * (number % 3)
            yield {
                "type": "timeseries",
                "title": panel.title,
                "datasource": _DATASOURCE,
                "gridPos": {"x": x, "y": y + HEIGHT * (number // 3), "w": WIDTH, "h": HEIGHT},
                "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
                "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
                "targets": [
                    {
                        "refId": chr(ord("A") + index),
                        "datasource": _DATASOURCE,
                        "expr": expression,
                        "legendFormat": legend,
                    }
                    for index, (expression, legend) in enumerate(panel.queries)
                ],
            }
        y += HEIGHT * -(-len(panels) // 3)
