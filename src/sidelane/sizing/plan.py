"""Plan: what a load on paper needs, on what is assumed of requests, jobs and streams that were not measured."""

from dataclasses import dataclass
from typing import Final

from sidelane.model.sizes import size_text
from sidelane.sizing.fit import Fit
from sidelane.sizing.machines import Machine
from sidelane.sizing.services import (
    ApiLoad,
    QueueDemand,
    Step,
    WorkerLoad,
    number,
    seconds_text,
    size_api,
    size_workers,
)

REQUEST_CPU: Final = 0.005
"""CPU seconds of a request: 150 requests per second and process, the middle of the usual 100 to 200."""

JOB_CPU: Final = 0.01
"""CPU seconds of a job that waits for others, e.g. for a language model."""

EVENT_CPU: Final = 0.00005
"""CPU seconds of an event in a worker, and of its delivery in an API process.

One process of each sent 20,000 events per second on two cores (docs/performance.md). Few streams cost more for each event.
"""

EVENTS_PER_SECOND: Final = 20
"""Events of a stream: a usual language model writes as many tokens."""

REQUESTS_PER_JOB: Final = 2
"""One that submits, and one that reads the result or the stream."""

PROCESS_MEMORY: Final = 500_000_000
"""Bytes of a process that has imported an application with its libraries."""

TARGET_WAIT: Final = 10.0
"""Seconds that half of the jobs may wait at most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedLoad:
    """A load on paper: jobs per second, seconds of each, and what is known about them. None: what is assumed instead."""

    rate: float
    seconds: float
    stream: bool = False
    cpu: float | None = None  # CPU seconds of a job
    memory: int | None = None  # bytes of a process


def plan(load: PlannedLoad, machine: Machine) -> Fit:
    """Return what a load needs, and whether it fits on a machine."""
    return Fit(machine=machine, services=[size_api(_api(load)), size_workers(_workers(load))])


def rule_of_thumb(load: PlannedLoad, machine: Machine) -> list[Step]:
    """Return what the rule "2 x cores + 1" recommends for the machine, and what so many workers would achieve.

    The rule is for workers that handle one request at a time.
    """
    workers = int(2 * machine.cores + 1)
    memory = load.memory or PROCESS_MEMORY
    steps = [Step(f"2 x {machine.cores:g} cores + 1", f"{workers} workers", "each handles one request at a time")]
    at_once = workers / load.seconds
    steps.append(
        Step(
            f"{workers} workers ÷ {seconds_text(load.seconds)}",
            f"{number(at_once)} jobs/s at most",
            f"{number(load.rate)} jobs/s arrive",
        )
    )
    if load.cpu is not None and (by_cpu := machine.cores / load.cpu) < at_once:
        calculation = f"{machine.cores:g} cores ÷ {seconds_text(load.cpu)} CPU"
        steps.append(Step(calculation, f"{number(by_cpu)} jobs/s at most", "more workers would share these cores"))
    return [*steps, Step(f"{workers} x {size_text(memory)}", f"{size_text(workers * memory)} of memory")]


def _api(load: PlannedLoad) -> ApiLoad:
    requests = load.rate * REQUESTS_PER_JOB
    cores = requests * REQUEST_CPU
    calculation = f"{number(load.rate)} jobs/s x {REQUESTS_PER_JOB} requests"
    steps = [
        Step(calculation, f"{number(requests)} requests/s", "the submit, and the result or the stream"),
        Step(f"{number(requests)} requests/s x {seconds_text(REQUEST_CPU)}", f"{number(cores)} cores busy"),
    ]
    assumptions = [f"{seconds_text(REQUEST_CPU)} CPU per request", *_memory_assumption(load)]
    if load.stream:
        streams = load.rate * load.seconds
        events = streams * EVENTS_PER_SECOND
        steps += [
            Step(
                f"{number(load.rate)} jobs/s x {seconds_text(load.seconds)}",
                f"{number(streams)} open streams",
                "Little's law",
            ),
            Step(
                f"{number(streams)} streams x {EVENTS_PER_SECOND} events/s x {seconds_text(EVENT_CPU)}",
                f"{number(events * EVENT_CPU)} cores busy",
            ),
            Step(f"{number(cores)} + {number(events * EVENT_CPU)}", f"{number(cores + events * EVENT_CPU)} cores busy"),
        ]
        cores += events * EVENT_CPU
        assumptions.append(_event_assumption())
    return ApiLoad(
        name="api",
        cores=cores,
        requests=requests,
        memory=load.memory or PROCESS_MEMORY,
        steps=steps,
        assumptions=assumptions,
    )


def _workers(load: PlannedLoad) -> WorkerLoad:
    cpu = JOB_CPU if load.cpu is None else load.cpu
    steps, assumptions = [], [f"half of the jobs may wait {seconds_text(TARGET_WAIT)} at most"]
    if load.cpu is None:
        assumptions.append(f"{seconds_text(JOB_CPU)} CPU per job, which otherwise waits for others (--cpu)")
        if load.stream:
            events = load.seconds * EVENTS_PER_SECOND
            cpu += events * EVENT_CPU
            calculation = f"{seconds_text(JOB_CPU)} + {number(events)} events x {seconds_text(EVENT_CPU)}"
            steps.append(Step(calculation, f"{seconds_text(cpu)} CPU per job"))
            assumptions.append(_event_assumption())
    queue = QueueDemand(queue="", arrivals=load.rate, run_time=load.seconds, target_wait=TARGET_WAIT)
    return WorkerLoad(
        name="worker", queues=[queue], cpu=cpu, memory=load.memory or PROCESS_MEMORY, steps=steps,
        assumptions=[*assumptions, *_memory_assumption(load)],
    )  # fmt: skip


def _memory_assumption(load: PlannedLoad) -> list[str]:
    if load.memory is not None:
        return []
    return [f"{size_text(PROCESS_MEMORY)} per process (--memory-per-process)"]


def _event_assumption() -> str:
    return f"{EVENTS_PER_SECOND} events/s per stream, {seconds_text(EVENT_CPU)} CPU each"
