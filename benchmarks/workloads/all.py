"""All workloads, in the order of measurement and of the page."""

from benchmarks.workloads import (
    callbacks,
    drain,
    growth,
    hostile,
    idle,
    light,
    limits,
    memory,
    recovery,
    retention,
    start,
    stream,
    submit,
    upload,
    wait,
)

MODULES = (
    drain, submit, limits, start, stream, light, callbacks, wait, recovery, idle, memory, growth, retention, upload, hostile,
)  # fmt: skip
WORKLOADS = {each.WORKLOAD.name: each.WORKLOAD for each in MODULES}
