"""Arithmetic of services: what follows from Little's law, the CPU, target waits and limits, and that each line is shown."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidelane.sizing.services import (
    MAX_SLOTS,
    ApiLoad,
    QueueDemand,
    ServiceSize,
    WorkerLoad,
    number,
    percent,
    size_api,
    size_workers,
)
from sidelane.sizing.slots import TARGET_UTILISATION

MB = 1_000_000


def workers(*queues: QueueDemand, cpu: float = 0.01, children_cpu: float = 0.0) -> ServiceSize:
    return size_workers(WorkerLoad(name="load", queues=queues, cpu=cpu, children_cpu=children_cpu, memory=100 * MB))


def texts(size: ServiceSize) -> list[tuple[str, str, str]]:
    """Return the lines of arithmetic in English."""
    return [(str(step.calculation), str(step.result), str(step.reason)) for step in size.steps]


def test_jobs_that_wait_need_many_slots_in_one_process() -> None:
    size = workers(QueueDemand(queue="chat", arrivals=2.5, run_time=12.0))
    assert (size.processes, size.slots, size.queue_slots) == (1, 40, {"chat": 40})
    assert size.cores == pytest.approx(0.025)
    assert size.memory == size.total_memory == 120 * MB
    assert texts(size)[:2] == [
        ("2.5 jobs/s x 12 s", "30 slots busy on average", "Little's law"),
        ("30 ÷ 0.75", "40 slots", "25 % stay free for peaks"),
    ]


def test_jobs_that_compute_need_a_process_for_each_core_and_few_slots() -> None:
    size = workers(QueueDemand(queue="audio", arrivals=2.0, run_time=1.0), cpu=1.0)
    assert (size.processes, size.slots) == (3, 1)
    assert size.capacity == pytest.approx(TARGET_UTILISATION)
    assert any(str(step.reason) == "100 % of the run time, so the jobs are CPU-bound" for step in size.steps)


def test_child_processes_use_cores_but_need_no_worker_processes() -> None:
    size = workers(QueueDemand(queue="audio", arrivals=2.0, run_time=1.0), cpu=0.005, children_cpu=1.0)
    assert (size.processes, size.slots) == (1, 3)
    assert size.cores == pytest.approx(2.01)


def test_target_wait_adds_slots_if_few_slots_would_let_jobs_wait() -> None:
    slow = QueueDemand(queue="report", arrivals=0.006, run_time=120.0)
    assert workers(slow).slots == 1
    size = workers(QueueDemand(queue="report", arrivals=0.006, run_time=120.0, target_wait=10.0))
    assert size.slots == 2
    assert size.waits["report"] == 0.0
    assert any("half of the jobs would wait over 2 min" in str(step.reason) for step in size.steps)


def test_limit_caps_the_slots_and_says_when_it_is_too_low() -> None:
    queue = QueueDemand(queue="chat", arrivals=5.0, run_time=2.0, most=4, limit="the limit provider")
    size = workers(queue)
    assert size.slots == 4
    (step,) = (step for step in size.steps if "provider" in str(step.reason))
    assert (
        str(step.reason)
        == "more would only wait for the limit provider, which is too low for these jobs: the queue grows"
    )
    assert size.waits["chat"] == math.inf


def test_worker_concurrency_of_a_queue_asks_for_more_processes() -> None:
    size = workers(QueueDemand(queue="gpu", arrivals=0.2, run_time=10.0, per_process=1))
    assert (size.processes, size.slots) == (3, 1)
    assert ("3 slots of gpu ÷ 1", "3 processes", "its worker_concurrency") in texts(size)


def test_no_process_has_so_many_slots_that_its_death_loses_too_many_jobs() -> None:
    size = workers(QueueDemand(queue="chat", arrivals=20.0, run_time=120.0))
    assert (size.processes, size.slots) == (4, 800)
    assert size.slots <= MAX_SLOTS


def test_several_queues_share_the_processes() -> None:
    size = workers(
        QueueDemand(queue="chat", arrivals=2.0, run_time=15.0), QueueDemand(queue="mail", arrivals=1.0, run_time=1.5)
    )
    assert (size.slots, size.queue_slots) == (42, {"chat": 40, "mail": 2})
    assert ("40 + 2", "42 slots", "") in texts(size)


def test_api_has_two_processes_although_one_would_do() -> None:
    size = size_api(ApiLoad(name="api", cores=0.2, requests=40.0, memory=80 * MB))
    assert (size.processes, size.memory) == (2, 96 * MB)
    assert size.capacity == pytest.approx(150)
    assert texts(size)[-2] == ("at least 2", "2 processes", "one serves while the other restarts")


def test_api_has_a_process_for_each_core_that_it_needs() -> None:
    assert size_api(ApiLoad(name="api", cores=2.4, requests=None, memory=MB)).processes == 4


@given(
    arrivals=st.floats(0.001, 50),
    run_time=st.floats(0.01, 100),
    share=st.floats(0.0001, 1),
    target=st.none() | st.floats(0.1, 60),
)
def test_advice_keeps_up_with_the_load(arrivals: float, run_time: float, share: float, target: float | None) -> None:
    queue = QueueDemand(queue="q", arrivals=arrivals, run_time=run_time, target_wait=target)
    size = workers(queue, cpu=share * run_time)
    assert size.processes * size.slots * TARGET_UTILISATION >= arrivals * run_time * 0.999
    assert size.cores / size.processes <= TARGET_UTILISATION * 1.001
    assert target is None or size.waits["q"] <= target
    assert size.capacity is not None
    assert size.capacity * size.processes >= arrivals * 0.999
    assert size.slots <= MAX_SLOTS


@pytest.mark.parametrize(
    ("value", "text"), [(1234.5, "1,234"), (42.0, "42"), (5.0, "5.0"), (0.21, "0.21"), (0.0034, "0.0034"), (0.0, "0.0")]
)
def test_numbers_have_two_digits_that_say_something(value: float, text: str) -> None:
    assert number(value) == text


def test_small_shares_are_no_zero() -> None:
    assert (percent(0.75), percent(0.0021), percent(0.0)) == ("75 %", "0.21 %", "0 %")
