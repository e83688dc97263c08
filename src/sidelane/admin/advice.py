"""Advice: how many API processes, worker processes and slots the load of a period needs, and which signals ask for more or less."""

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sidelane.admin.arrivals import MIN_JOBS, QueueArrivals, queue_arrivals
from sidelane.admin.documents import time_text
from sidelane.admin.figures import Chart, History, read_history
from sidelane.admin.findings.reading import worker_exits
from sidelane.admin.process_loads import MIN_REQUESTS, Service, read_lines, running_time, services_of
from sidelane.admin.queue_limits import QueueLimits
from sidelane.admin.signals import Signal, signals_of
from sidelane.client.declarations import DECLARATIONS, load_declarations
from sidelane.model.durations import duration_text
from sidelane.model.queue import INTERNAL_PREFIX
from sidelane.model.sentence import Sentence, sentence
from sidelane.model.sizes import size_text
from sidelane.model.worker import API, WORKER_EXITS
from sidelane.processes.machine import local_machine
from sidelane.sizing.fit import Fit
from sidelane.sizing.machines import SYSTEM_MEMORY, Machine
from sidelane.sizing.plan import JOB_CPU, PROCESS_MEMORY
from sidelane.sizing.services import (
    ApiLoad,
    Kind,
    QueueDemand,
    ServiceSize,
    Step,
    WorkerLoad,
    number,
    percent,
    seconds_text,
    size_api,
    size_workers,
    with_headroom,
)
from sidelane.stores.contract import Store

FULL_CPU = 0.98
"""Share of a core above which the wait for the CPU cannot be calculated any more."""

LIMIT_WAIT = 60.0
"""Seconds that all jobs of a queue have waited for limits if that is worth a note."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceAdvice:
    """What one service should have, and what it has now. `busiest` is the time by which it is sized.

    Without a time there was too little to measure, and `size` repeats what there is.
    """

    size: ServiceSize
    processes: int
    slots: int  # of one process
    busiest: float | None = None

    @property
    def asks_for_change(self) -> bool:
        """Whether it was measured and should have another number of processes."""
        return self.busiest is not None and self.size.processes != self.processes

    @property
    def sentence(self) -> Sentence:
        """What it should have, and what it has."""
        return sentence(
            "{service}: processes now {now}, advised {advised}",
            service=self.size.name,
            now=self.processes,
            advised=self.size.processes,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """The advice for a period. `since` is when the first figures begin."""

    since: float
    until: float
    services: Sequence[ServiceAdvice]
    fit: Fit
    signals: Sequence[Signal]
    notes: Sequence[Sentence]

    def document(self) -> dict[str, Any]:
        """Return a JSON document. Memory is in bytes, CPU in cores, times in seconds."""
        found = fit_document(self.fit)
        for document, advised in zip(found["services"], self.services, strict=True):
            document["now"] = {"processes": advised.processes, "slots": advised.slots or None}
            document["busiest"] = time_text(advised.busiest)
        return {
            "since": time_text(self.since),
            "until": time_text(self.until),
            **found,
            "signals": [each.document() for each in self.signals],
            "notes": list(map(str, self.notes)),
        }


def fit_document(fit: Fit) -> dict[str, Any]:
    """Return services, and whether they fit on a machine, as a JSON document."""
    machine, larger = fit.machine, fit.larger
    return {
        "machine": {
            "name": machine.name,
            "cores": machine.cores,
            "baseline": machine.baseline,
            "memory": machine.memory,
            "usable_cores": machine.usable_cores,
            "usable_memory": machine.usable_memory,
        },
        "services": [_service_document(each, fit) for each in fit.services],
        "total": {
            "cores": fit.cores,
            "memory": fit.memory,
            "fits": fit.fits,
            "on_credits": fit.on_credits,
            "steps": step_documents(fit.steps),
            "larger_machine": None if fit.fits or larger is None else larger.name,
            "machines": 1 if fit.fits else fit.count,
        },
    }


def _service_document(size: ServiceSize, fit: Fit) -> dict[str, Any]:
    return {
        "name": size.name,
        "kind": size.kind,
        "processes": size.processes,
        "slots": size.slots or None,
        "queues": [
            {"name": name, "slots": slots, "median_wait": _finite(size.waits.get(name))}
            for name, slots in size.queue_slots.items()
        ],
        "memory": size.memory,
        "total_memory": size.total_memory,
        "cores": size.cores,
        "capacity": size.capacity,
        "fits": fit.fits_alone(size),
        "steps": step_documents(size.steps),
        "assumptions": list(map(str, size.assumptions)),
    }


def _finite(wait: float | None) -> float | None:
    """Return a wait for JSON, which has no number for one without end."""
    return None if wait == math.inf else wait


def step_documents(steps: Iterable[Step]) -> list[dict[str, str]]:
    """Return lines of arithmetic as JSON documents."""
    return [
        {"calculation": str(each.calculation), "result": str(each.result), "reason": str(each.reason)} for each in steps
    ]


def this_machine() -> Machine:
    """Return the machine of this process, for which services are sized unless another is named."""
    here = local_machine()
    return Machine(name=here.host, cores=here.cores, memory=here.memory, system=0 if here.limited else SYSTEM_MEMORY)


async def read_advice(store: Store, seconds: float, machine: Machine, limits: Mapping[str, QueueLimits]) -> Advice:
    """Return the advice by the last `seconds`. `limits` are what a lane declares of its queues. Raises `StoreError`."""
    history = await read_history(store, seconds)
    period = history.period
    lines, live, exits, (declared,) = await asyncio.gather(
        read_lines(store, period.since),
        store.workers(),
        store.read_journal(WORKER_EXITS),
        store.read_values([DECLARATIONS]),
    )
    services, running = services_of(lines, live), running_time(lines, live, period)
    since = _first_figure(history, running[0])
    target_waits = load_declarations(declared).target_waits
    arrivals = {each.queue: each for each in queue_arrivals(history, running)}
    advised = [_advise(service, services, arrivals, target_waits, limits) for service in services]
    lately = [each for each in worker_exits(exits) if each.at >= period.since]
    signals = signals_of(services, _user_charts(history), target_waits, lately, machine)
    return Advice(
        since=since,
        until=period.until,
        services=advised,
        fit=Fit(machine=machine, services=[each.size for each in advised]),
        signals=[replace(signal, since=max(since, signal.since)) for signal in signals],
        notes=_notes(services, arrivals),
    )


def _user_charts(history: History) -> Mapping[str, Chart]:
    return {name: chart for name, chart in history.by_queue().items() if not name.startswith(INTERNAL_PREFIX)}


def _first_figure(history: History, running: float) -> float:
    """Return when the figures of a period begin. `running` is since when processes are known to have run."""
    period = history.period
    first = min((cell.at for cell in history.cells), default=period.until)
    return max(period.since, running if running < first + period.step else first)


def _advise(
    service: Service,
    services: Sequence[Service],
    arrivals: Mapping[str, QueueArrivals],
    target_waits: Mapping[str, float],
    limits: Mapping[str, QueueLimits],
) -> ServiceAdvice:
    if service.kind == API:
        return _advise_api(service)
    found = [arrivals[queue] for queue in service.queues if queue in arrivals and arrivals[queue].enough]
    if not found:
        return _as_it_is(service)
    cpu, children_cpu, load = _cpu_per_job(service)
    steps: list[Step] = []
    queues = []
    for each in found:
        slots = sum(other.processes * other.slots for other in services if each.queue in other.queues)
        share = service.processes * service.slots / slots
        run_time = _without_cpu_wait(each, cpu, load, steps)
        queue = QueueDemand(
            queue=each.queue, arrivals=each.rate * share, run_time=run_time, target_wait=target_waits.get(each.queue)
        )
        queues.append(limits.get(each.queue, QueueLimits()).applied_to(queue))
    assumptions = []
    if not cpu:
        text = "{time} CPU per job: no process has written what it uses"
        assumptions.append(sentence(text, time=seconds_text(JOB_CPU)))
    size = size_workers(
        WorkerLoad(
            name=service.name, queues=queues, cpu=cpu or JOB_CPU, children_cpu=children_cpu,
            memory=service.memory or PROCESS_MEMORY, steps=steps, assumptions=[*assumptions, *_memory_assumption(service)],
        )
    )  # fmt: skip
    busiest = max(found, key=lambda each: each.rate * each.run_time)
    return ServiceAdvice(size=size, processes=service.processes, slots=service.slots, busiest=busiest.at)


def _advise_api(service: Service) -> ServiceAdvice:
    if not service.windows:
        return _as_it_is(service)
    busiest = max(service.windows, key=lambda window: window.cores)
    known = busiest.counted >= MIN_REQUESTS
    calculation = sentence("CPU of {service}", service=service.name)
    if known:
        time = seconds_text(busiest.cores / busiest.requests)
        calculation = sentence("{requests} requests/s x {time} CPU", requests=number(busiest.requests), time=time)
    busy = sentence("{cores} cores busy", cores=number(busiest.cores))
    step = Step(calculation, busy, sentence("measured, at its busiest ten minutes"))
    size = size_api(
        ApiLoad(
            name=service.name, cores=busiest.cores, requests=busiest.requests if known else None,
            memory=service.memory or PROCESS_MEMORY, steps=[step], assumptions=_memory_assumption(service),
        )
    )  # fmt: skip
    return ServiceAdvice(size=size, processes=service.processes, slots=0, busiest=busiest.since)


def _as_it_is(service: Service) -> ServiceAdvice:
    """Return the advice to leave a service as it is, because too little has happened."""
    too_few = sentence("no process has written what it uses")
    if service.kind != API:
        too_few = sentence("fewer than {count} jobs have ended", count=MIN_JOBS)
    cores = max((window.cores for window in service.windows), default=0.0)
    size = ServiceSize(
        name=service.name, kind=Kind(service.kind), processes=service.processes, cores=cores,
        memory=with_headroom(service.memory or PROCESS_MEMORY), capacity=None, slots=service.slots,
        steps=[Step(sentence("too little to size by"), sentence("as it is now"), too_few)], assumptions=_memory_assumption(service),
    )  # fmt: skip
    return ServiceAdvice(size=size, processes=service.processes, slots=service.slots)


def _cpu_per_job(service: Service) -> tuple[float, float, float]:
    """Return the CPU seconds per job of a process and of its children, and the most CPU that a process used in the same time.

    Only lines with at least half of the most jobs per second count, because an idle process uses CPU too.
    """
    loads = [line.load for line in service.lines if line.load.jobs]
    most = max((load.jobs / load.seconds for load in loads), default=0.0)
    busy = [load for load in loads if load.jobs / load.seconds >= most / 2]
    jobs = sum(load.jobs for load in busy)
    if not jobs:
        return 0.0, 0.0, 0.0
    used, of_children = (
        sum(load.cpu * load.seconds for load in busy),
        sum(load.children_cpu * load.seconds for load in busy),
    )
    return used / jobs, of_children / jobs, max(load.max_cpu for load in busy)


def _without_cpu_wait(arrivals: QueueArrivals, cpu: float, load: float, steps: list[Step]) -> float:
    """Return the run time without the wait for the CPU, which jobs of one process share.

    A process that is busy for a share of the time makes each CPU second last 1 ÷ (1 - share) seconds. No job runs faster than the
    fastest ones did.
    """
    busy = min(load, FULL_CPU)
    run_time = max(arrivals.run_time - cpu * busy / (1 - busy), arrivals.fastest, cpu)
    if run_time > arrivals.run_time * 0.9:
        return arrivals.run_time
    calculation = f"{arrivals.run_time:.2f} s - {arrivals.run_time - run_time:.2f} s"
    reason = sentence("less the wait for the CPU, of which up to {share} was busy", share=percent(load))
    steps.append(Step(calculation, sentence("{time} run time", time=f"{run_time:.2f} s"), reason))
    return run_time


def _memory_assumption(service: Service) -> list[Sentence]:
    if service.memory:
        return []
    return [sentence("{size} per process: no process has reported its memory", size=size_text(PROCESS_MEMORY))]


def _notes(services: Sequence[Service], arrivals: Mapping[str, QueueArrivals]) -> list[Sentence]:
    """Return what else a reader should know about these figures."""
    found = []
    hosts = {host for service in services for host in service.hosts}
    if len(hosts) > 1:
        text = "The processes run on {count} machines ({hosts}); the table compares all with one."
        found.append(sentence(text, count=len(hosts), hosts=", ".join(sorted(hosts))))
    served = {queue for service in services for queue in service.queues}
    for name, each in arrivals.items():
        if name not in served:
            found.append(sentence("No worker serves {queue}, so it has no advice.", queue=name))
        elif not each.enough:
            text = "Too few jobs of {queue} have ended to size by: {count} of at least {least}."
            found.append(sentence(text, count=each.ended, queue=name, least=MIN_JOBS))
        if each.limit_wait >= LIMIT_WAIT:
            text = "Jobs of {queue} waited {time} in total for their limits, which more slots do not change."
            found.append(sentence(text, queue=name, time=duration_text(each.limit_wait)))
    return found
