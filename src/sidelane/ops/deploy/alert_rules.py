"""Alert rules for Prometheus, about the metrics of a service."""

from dataclasses import dataclass
from typing import Final

from sidelane.ops.deploy.yaml_text import scalar


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert. It fires when `expression` has had a result `for_` so long. `summary` may use labels of the result."""

    name: str
    severity: str  # "critical": now; "warning": today
    expression: str
    for_: str
    summary: str
    action: str


def _increase(metric: str, by: str, range_: str, *matchers: str) -> str:
    return f"sum by ({by}) (max without (instance, pod) (increase({metric}{{{', '.join(matchers)}}}[{range_}])))"


_USERS = r'queue!~"sidelane\\..*"'
_CALLBACKS = 'queue="sidelane.callbacks"'
_FAILED = 'outcome="failed"'

RULES: Final = (
    Rule(
        "SidelaneNoMetrics", "critical", "absent(sidelane_store_info)", "5m",
        "No process answers with metrics of the store",
        "See whether the API runs, and whether its store answers: `sidelane status`.",
    ),
    Rule(
        "SidelaneNoWorker", "critical", "max(sidelane_worker_slots) == 0", "5m",
        "No worker is alive",
        "Start workers, or see why they died: `sidelane status`, `sidelane logs`.",
    ),
    Rule(
        "SidelaneWorkerUnhealthy", "warning", 'sum(max without (instance, pod) (sidelane_workers{health="unhealthy"})) > 0', "5m",
        "{{ $value }} workers are not healthy",
        "`sidelane workers` shows the reason of each.",
    ),
    Rule(
        "SidelaneQueueWithoutWorker", "critical",
        'max by (queue) (sidelane_queue_jobs{state="ready"}) > 0 and max by (queue) (sidelane_queue_workers) == 0 '
        "unless max by (queue) (sidelane_queue_paused) == 1",
        "5m",
        "Jobs wait in queue {{ $labels.queue }}, which no live worker takes",
        "Start a worker for the queue.",
    ),
    Rule(
        "SidelaneQueueMissesTarget", "critical",
        "max by (queue) (sidelane_queue_head_wait_seconds) > max by (queue) (sidelane_queue_target_wait_seconds)", "2m",
        "Jobs of queue {{ $labels.queue }} wait longer than its target: {{ $value | humanizeDuration }}",
        "Look for a full limit (`sidelane limits`) first, then add workers.",
    ),
    Rule(
        "SidelaneQueueLong", "warning",
        'max by (queue) (sidelane_queue_jobs{state="ready"}) > 100 unless max by (queue) (sidelane_queue_target_wait_seconds) > 0',
        "20m",
        "Queue {{ $labels.queue }} has had more than 100 ready jobs for 20 minutes: {{ $value }}",
        "Give the queue a target wait, or raise this number if it is a queue of batch jobs.",
    ),
    Rule(
        "SidelaneJobsFail", "warning",
        f"{_increase('sidelane_jobs_ended_total', 'queue, task', '10m', _FAILED, _USERS)} / "
        f"{_increase('sidelane_jobs_ended_total', 'queue, task', '10m', _USERS)} > 0.05", "5m",
        "{{ $value | humanizePercentage }} of the jobs of task {{ $labels.task }} fail",
        "`sidelane dead` lists them with their errors.",
    ),
    Rule(
        "SidelaneWorkerLost", "warning", f"{_increase('sidelane_attempts_lost_total', 'queue, task', '15m')} > 0", "0m",
        "Workers died or froze while they ran task {{ $labels.task }}",
        "`sidelane jobs list --task` and the log of the workers show the cause; memory is the most common.",
    ),
    Rule(
        "SidelaneProviderThrottles", "warning", f"{_increase('sidelane_attempts_throttled_total', 'task', '5m')} > 10", "5m",
        "A provider asks task {{ $labels.task }} to try later",
        "Lower the limit of the task or of the model.",
    ),
    Rule(
        "SidelaneLimitHoldsJobs", "warning", "max by (limit) (sidelane_limit_waiting_jobs) > 100", "15m",
        "{{ $value }} jobs wait for limit {{ $labels.limit }}",
        "More workers would only wait too. Raise the limit if what it protects allows that.",
    ),
    Rule(
        "SidelaneCallbacksFail", "warning",
        f"{_increase('sidelane_jobs_ended_total', 'queue', '15m', _FAILED, _CALLBACKS)} > 0", "0m",
        "{{ $value }} callbacks were given up",
        "`sidelane dead --queue sidelane.callbacks` lists them; `sidelane callbacks redeliver` sends one again.",
    ),
    Rule(
        "SidelaneCallbacksLate", "warning", f"max(sidelane_queue_oldest_seconds{{{_CALLBACKS}}}) > 300", "5m",
        "The oldest callback has waited {{ $value | humanizeDuration }}",
        "See whether its receiver answers.",
    ),
    Rule(
        "SidelaneStoreFull", "critical",
        "max(sidelane_store_size_bytes - sidelane_store_free_bytes) / max(sidelane_store_max_size_bytes) > 0.9 "
        "or max(sidelane_store_server_memory_bytes) / max(sidelane_store_max_size_bytes) > 0.9", "5m",
        "The store is {{ $value | humanizePercentage }} full; then it refuses jobs",
        "Lower the retention of tasks with many jobs, or raise the size.",
    ),
    Rule(
        "SidelaneDiskFull", "critical", "predict_linear(min(sidelane_store_disk_free_bytes)[6h:5m], 24 * 3600) < 0", "30m",
        "The disk of the store is full within a day",
        "Free space, or lower the retention of tasks with many jobs.",
    ),
    Rule(
        "SidelaneEventLoopLags", "warning", "max by (process) (sidelane_process_loop_lag_seconds) > 1", "5m",
        "The event loop of {{ $labels.process }} comes {{ $value | humanizeDuration }} too late",
        "A coroutine blocks it: let it run in a thread or a process.",
    ),
    Rule(
        "SidelaneRequestsRefused", "critical",
        'sum(rate(sidelane_requests_total{status="503"}[5m])) / sum(rate(sidelane_requests_total[5m])) > 0.05', "5m",
        "{{ $value | humanizePercentage }} of the requests are answered 503",
        "See whether the store answers and which queue is full.",
    ),
    Rule(
        "SidelaneFinding", "warning", 'max(sidelane_findings{severity="urgent"}) > 0', "5m",
        "{{ $value }} urgent findings need a person",
        "`sidelane attention` lists them with what to do.",
    ),
)  # fmt: skip
"""The alerts, worst first within a part of the service."""


def rules_text(service: str) -> str:
    """Return the file of the alert rules."""
    lines = [
        f"# Alert rules of {service} for Prometheus (`rule_files`). The numbers are a start: change them to yours.",
        "groups:",
        f"  - name: {scalar(f'sidelane-{service}')}",
        "    rules:",
    ]
    for rule in RULES:
        lines += [
            f"      - alert: {rule.name}",
            f"        expr: {scalar(rule.expression)}",
            f"        for: {rule.for_}",
            f"        labels: {{severity: {rule.severity}}}",
            "        annotations:",
            f"          summary: {scalar(rule.summary)}",
            f"          description: {scalar(rule.action)}",
        ]
    return "\n".join([*lines, ""])
