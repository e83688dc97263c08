"""Services: how many processes and slots a load needs, with the arithmetic line by line.

Slots follow from Little's law and the target wait. Processes follow from the CPU, because a Python process uses one core at most.
Memory follows from both.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from sidelane.model.durations import duration_text
from sidelane.model.sentence import Sentence, counted, sentence
from sidelane.model.sizes import size_text
from sidelane.sizing.slots import TARGET_UTILISATION, busy_slots, wanted_slots
from sidelane.sizing.waiting import median_wait, slots_for_wait

MIN_API_PROCESSES: Final = 2
"""So that one serves while another restarts."""

MAX_SLOTS: Final = 1000
"""Slots of one worker process at most, so that a process that dies takes no more jobs with it."""

MEMORY_HEADROOM: Final = 1.2
"""Times the memory of a process that should be there, because memory grows with the arguments and results of its jobs."""

CPU_BOUND: Final = 0.5
"""Cores that one running job uses at least if its task is called CPU-bound."""


class Kind(StrEnum):
    """What the processes of a service do."""

    API = "api"
    WORKER = "worker"


@dataclass(frozen=True, slots=True)
class Step:
    """One line of arithmetic: what is calculated, what comes out, and why."""

    calculation: Sentence | str
    result: Sentence | str
    reason: Sentence | str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueDemand:
    """The jobs of one queue that a service runs. `most` is how many a limit lets run at once, and `limit` says which limit.

    `per_process` is how many one worker process runs at once at most.
    """

    queue: str
    arrivals: float  # per second, above 0
    run_time: float  # seconds, above 0
    target_wait: float | None = None
    most: int | None = None
    limit: str = ""
    per_process: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerLoad:
    """What the workers of a service have to do. `cpu` and `children_cpu` are CPU seconds per job, `memory` is that of a process."""

    name: str
    queues: Sequence[QueueDemand]
    cpu: float
    children_cpu: float = 0.0  # of the processes of tasks with `process=True`
    memory: int
    steps: Sequence[Step] = ()  # how these figures were calculated
    assumptions: Sequence[Sentence | str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ApiLoad:
    """What the API processes have to do together: `cores` that they keep busy, and requests per second if these are counted."""

    name: str
    cores: float
    requests: float | None
    memory: int  # of a process
    steps: Sequence[Step] = ()
    assumptions: Sequence[Sentence | str] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ServiceSize:
    """How many processes a service needs, and what each has. `slots` and `queue_slots` are those of one process.

    `capacity` is how many requests or jobs per second one process handles at the target utilisation, None if that is unknown.
    `waits` are the median waits in seconds that are to be expected, by queue.
    """

    name: str
    kind: Kind
    processes: int
    cores: float  # busy on average, of all processes together
    memory: int  # bytes of one process, with headroom
    capacity: float | None
    slots: int = 0
    queue_slots: Mapping[str, int] = field(default_factory=dict)
    waits: Mapping[str, float] = field(default_factory=dict)
    steps: Sequence[Step] = ()
    assumptions: Sequence[Sentence | str] = ()

    @property
    def total_memory(self) -> int:
        return self.processes * self.memory


def size_api(load: ApiLoad) -> ServiceSize:
    """Return the size of a service that serves an application."""
    wanted = load.cores / TARGET_UTILISATION
    processes = max(MIN_API_PROCESSES, round_up(wanted))
    steps = [*load.steps, _for_cpu(load.cores, wanted)]
    if wanted <= MIN_API_PROCESSES - 1:
        at_least = sentence("at least {count}", count=MIN_API_PROCESSES)
        steps.append(Step(at_least, process_count(processes), sentence("one serves while the other restarts")))
    return ServiceSize(
        name=load.name, kind=Kind.API, processes=processes, cores=load.cores, memory=with_headroom(load.memory),
        capacity=load.requests * TARGET_UTILISATION / load.cores if load.requests and load.cores else None,
        steps=[*steps, _for_memory(load.memory)], assumptions=load.assumptions,
    )  # fmt: skip


def size_workers(load: WorkerLoad) -> ServiceSize:
    """Return the size of a service that runs jobs, of which at least one arrives now and then."""
    steps, slots, steady = list(load.steps), dict[str, int](), 0
    for queue in load.queues:
        steady += max(1, round_up(wanted_slots(queue.arrivals, queue.run_time)))
        slots[queue.queue] = _slots(queue, steps, named=len(load.queues) > 1)
    total, jobs = sum(slots.values()), sum(queue.arrivals for queue in load.queues)
    busy = sum(busy_slots(queue.arrivals, queue.run_time) for queue in load.queues)
    if len(slots) > 1:
        steps.append(Step(" + ".join(map(str, slots.values())), slot_count(total)))
    cores = jobs * load.cpu
    steps.append(_for_jobs(load, jobs, busy))
    wanted = cores / TARGET_UTILISATION * total / steady
    steps.append(_for_cpu(cores, wanted, scaled=f" x {total} ÷ {steady}" if total != steady else ""))
    processes = _processes_for_slots(max(1, round_up(wanted)), load.queues, slots, steps)
    per_process = round_up(total / processes)
    if processes > 1:
        divided = sentence("{slots} ÷ {processes}", slots=slot_count(total), processes=processes)
        steps.append(Step(divided, sentence("{slots} per process", slots=slot_count(per_process))))
    by_slots = per_process * TARGET_UTILISATION * jobs / busy
    return ServiceSize(
        name=load.name, kind=Kind.WORKER, processes=processes, cores=jobs * (load.cpu + load.children_cpu),
        memory=with_headroom(load.memory), slots=per_process,
        capacity=min(by_slots, TARGET_UTILISATION / load.cpu) if load.cpu else by_slots,
        queue_slots={name: round_up(count / processes) for name, count in slots.items()},
        waits={
            queue.queue: median_wait(queue.arrivals, queue.run_time, slots[queue.queue]) for queue in load.queues
        },
        steps=[*steps, _for_memory(load.memory)], assumptions=load.assumptions,
    )  # fmt: skip


def percent(share: float) -> str:
    """Format a share: "75 %", "0.4 %"."""
    return f"{number(share * 100)} %" if 0 < share < 0.0095 else f"{share * 100:.0f} %"


def round_up(value: float) -> int:
    """Return the next whole number. What floats add by rounding costs no process."""
    return math.ceil(value - 1e-9)


def with_headroom(memory: int) -> int:
    """Return the bytes that a process should have."""
    return round_up(memory * MEMORY_HEADROOM)


def number(value: float) -> str:
    """Format a number with two significant digits at least: "1,200", "42", "5.0", "0.21", "0.0034"."""
    if value >= 9.95:
        return f"{value:,.0f}"
    if value >= 0.995 or value <= 0:
        return f"{value:.1f}"
    return f"{value:.{1 - math.floor(math.log10(value))}f}"


def _slots(queue: QueueDemand, steps: list[Step], *, named: bool) -> int:
    """Return the slots of one queue, of all processes together."""
    name = queue.queue if named else ""
    busy = busy_slots(queue.arrivals, queue.run_time)
    jobs = sentence("{jobs} jobs/s x {time}", jobs=number(queue.arrivals), time=seconds_text(queue.run_time))
    average = sentence("{count} slots busy on average", count=number(busy))
    steps.append(Step(_of_queue(name, jobs), average, sentence("Little's law")))
    slots = max(1, round_up(wanted_slots(queue.arrivals, queue.run_time)))
    free = sentence("{share} stay free for peaks", share=percent(1 - TARGET_UTILISATION))
    steps.append(Step(_of_queue(name, f"{number(busy)} ÷ {TARGET_UTILISATION:g}"), slot_count(slots), free))
    if queue.target_wait is not None:
        enough = slots_for_wait(queue.arrivals, queue.run_time, queue.target_wait, at_least=slots)
        if enough > slots:
            wait = seconds_text(median_wait(queue.arrivals, queue.run_time, slots))
            target = sentence("target wait of {time}", time=seconds_text(queue.target_wait))
            reason = sentence(
                "with {slots}, half of the jobs would wait over {time} (Erlang C)", slots=slots, time=wait
            )
            steps.append(Step(_of_queue(name, target), slot_count(enough), reason))
            slots = enough
    if queue.most is not None and queue.most < slots:
        reason = sentence("more would only wait for {limit}", limit=queue.limit)
        if busy > queue.most:
            text = "more would only wait for {limit}, which is too low for these jobs: the queue grows"
            reason = sentence(text, limit=queue.limit)
        at_most = sentence("at most {count}", count=queue.most)
        steps.append(Step(_of_queue(name, at_most), slot_count(queue.most), reason))
        slots = queue.most
    return slots


def _of_queue(name: str, calculation: Sentence | str) -> Sentence | str:
    """Return a calculation with the name of its queue, if the service has several."""
    return sentence("{queue}: {calculation}", queue=name, calculation=calculation) if name else calculation


def _processes_for_slots(
    processes: int, queues: Sequence[QueueDemand], slots: Mapping[str, int], steps: list[Step]
) -> int:
    """Return the processes that these slots need, if one process may not have as many as `processes` would have."""
    total = sum(slots.values())
    bounds = [(total, MAX_SLOTS, "", sentence("a process that dies takes no more jobs with it"))]
    bounds += [
        (slots[each.queue], each.per_process, each.queue, sentence("its worker_concurrency"))
        for each in queues
        if each.per_process is not None
    ]
    for count, most, queue, reason in bounds:
        if (needed := round_up(count / most)) > processes:
            text = "{count} slots of {queue} ÷ {most}" if queue else "{count} slots ÷ {most}"
            divided = sentence(text, count=f"{count:,}", queue=queue, most=f"{most:,}")
            steps.append(Step(divided, process_count(needed), reason))
            processes = needed
    return processes


def _for_jobs(load: WorkerLoad, jobs: float, busy: float) -> Step:
    """Return the line of the CPU that jobs use."""
    share = load.cpu * jobs / busy
    text = "{share} of the run time, so the jobs are CPU-bound" if share >= CPU_BOUND else "{share} of the run time"
    reason = sentence(text, share=percent(share))
    if share > 1:
        reason = sentence("more than their run time, for what is around it")
    if load.children_cpu:
        more = number(jobs * load.children_cpu)
        reason = sentence("{reason}; its child processes use {cores} cores more", reason=reason, cores=more)
    calculation = sentence("{jobs} jobs/s x {time} CPU", jobs=number(jobs), time=seconds_text(load.cpu))
    return Step(calculation, sentence("{cores} cores busy", cores=number(jobs * load.cpu)), reason)


def _for_cpu(cores: float, wanted: float, *, scaled: str = "") -> Step:
    part = f"{TARGET_UTILISATION:g}{scaled}"
    calculation = sentence("{cores} cores ÷ {part}", cores=number(cores), part=part)
    return Step(calculation, process_count(max(1, round_up(wanted))), sentence("each uses one core at most"))


def _for_memory(memory: int) -> Step:
    calculation = f"{size_text(memory)} x {MEMORY_HEADROOM:g}"
    result = sentence("{size} per process", size=size_text(with_headroom(memory)))
    return Step(calculation, result, sentence("memory that still grows"))


def seconds_text(seconds: float) -> str:
    """Format seconds with two digits at least: "2 min", "12 s", "0.20 s", "3.4 ms"."""
    if seconds >= 9.95:
        return duration_text(seconds)
    return f"{number(seconds)} s" if seconds >= 0.0995 else f"{number(seconds * 1000)} ms"


def slot_count(count: int) -> Sentence:
    """Return a number of slots in words."""
    return counted(count, "1 slot", "{count} slots")


def process_count(count: int) -> Sentence:
    """Return a number of processes in words."""
    return counted(count, "1 process", "{count} processes")
