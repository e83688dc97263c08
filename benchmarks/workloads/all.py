"""All workloads, in the order in which they are measured and shown."""

from benchmarks.workloads import drain, growth, idle, light, memory, recovery, start, stream, submit, wait

MODULES = (drain, submit, start, stream, light, wait, recovery, idle, memory, growth)
WORKLOADS = {each.WORKLOAD.name: each.WORKLOAD for each in MODULES}
