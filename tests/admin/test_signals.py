"""Signals: each is there with its first moment if its figures are, and only then."""

from dataclasses import replace
from typing import Any

import pytest

from sidelane.admin.figures import Chart, Period
from sidelane.admin.findings.facts import WorkerExit
from sidelane.admin.process_loads import Service, TimedLoad, services_of
from sidelane.admin.signals import Direction, Signal, signals_of
from sidelane.model.history import TEN_MINUTES, Count, HistoryCell, Series
from sidelane.model.process_load import ProcessLoad
from sidelane.model.worker import API, WORKER
from sidelane.sizing.machines import Machine

pytestmark = pytest.mark.row("R18")

NOW = 1_700_000_400.0  # a whole ten minutes
MACHINE = Machine(name="box", cores=2, memory=4_000_000_000)


def lines(*cpu: float, name: str = "chat-1@box", kind: str = WORKER, **fields: Any) -> list[TimedLoad]:
    """Return a line for each ten minutes until now, with these shares of CPU."""
    return [
        TimedLoad(
            NOW - TEN_MINUTES * (len(cpu) - 1 - number) - 1,
            ProcessLoad(process=f"{name}:box:1:a", name=name, host="box", kind=kind, seconds=600, cpu=share, **fields),
        )
        for number, share in enumerate(cpu)
    ]


def found(*own: TimedLoad, exits: tuple[WorkerExit, ...] = ()) -> dict[str, Signal]:
    services: list[Service] = services_of(own, [])
    return {each.kind: each for each in signals_of(services, {}, {}, exits, MACHINE)}


def queue_signals(target: float | None = None, **values: list[int]) -> dict[str, Signal]:
    """Return the signals of a queue with these counts in each ten minutes."""
    length = max(len(column) for column in values.values())
    period = Period(NOW - length * TEN_MINUTES, NOW, TEN_MINUTES)
    cells = [
        HistoryCell(at, Series("chat", "answer"), {Count[name]: column[index] for name, column in values.items()})
        for index, at in enumerate(period.times)
    ]
    targets = {} if target is None else {"chat": target}
    return {each.kind: each for each in signals_of([], {"chat": Chart(period, cells)}, targets, (), MACHINE)}


def test_high_cpu_counts_since_its_first_ten_minutes() -> None:
    signal = found(*lines(0.9, 0.4, 0.85, 0.95))["high-cpu"]
    assert (signal.direction, signal.about, signal.until) == (Direction.RAISE, "chat", None)
    assert signal.since == NOW - 2 * TEN_MINUTES - 1
    assert "95 %" in str(signal.evidence)


def test_high_cpu_that_is_over_says_until_when() -> None:
    signal = found(*lines(0.9, 0.9, 0.4))["high-cpu"]
    assert signal.until == NOW - TEN_MINUTES - 1


def test_low_cpu_and_idle_slots_ask_for_fewer_processes() -> None:
    two = lines(0.1, 0.2, slots=10, running=1), lines(0.1, 0.1, name="chat-2@box", slots=10, running=1)
    signal = found(*sorted([*two[0], *two[1]], key=lambda line: line.until))["low-cpu"]
    assert signal.direction is Direction.LOWER
    assert "2 processes" in str(signal.evidence)


@pytest.mark.parametrize("fields", [{"slots": 10, "running": 7}, {"slots": 10, "running": 1}])
def test_low_cpu_is_no_signal_for_busy_slots_or_for_one_process(fields: dict[str, Any]) -> None:
    assert "low-cpu" not in found(*lines(0.1, 0.1, **fields))


def test_503s_and_late_loops_are_signals() -> None:
    signals = found(*lines(0.2, 0.2, name="api", kind=API, unavailable=3, loop_lag=1.2))
    assert signals.keys() == {"unavailable", "late-loop"}
    assert "6 requests" in str(signals["unavailable"].evidence)


def test_memory_runs_short_if_processes_use_it_or_were_killed_for_it() -> None:
    assert "memory-short" not in found(*lines(0.5, memory=1_000_000_000))
    assert found(*lines(0.5, memory=3_300_000_000))["memory-short"].direction is Direction.LOWER
    killed = WorkerExit(NOW - 50, "chat-1@box", "signal SIGKILL, out of memory", 1)
    assert found(*lines(0.5, memory=1), exits=(killed,))["memory-short"].since == NOW - 50


def test_memory_of_another_machine_is_not_compared() -> None:
    (line,) = lines(0.5, memory=3_300_000_000)
    elsewhere = TimedLoad(line.until, replace(line.load, host="other"))
    assert "memory-short" not in found(elsewhere)
    killed = WorkerExit(NOW - 50, "chat-1@other", "signal SIGKILL, out of memory", 1)
    evidence = str(found(elsewhere, exits=(killed,))["memory-short"].evidence)
    assert evidence == "1 worker was killed for lack of memory, the last one chat-1@other."


def test_queue_that_grows_says_from_how_many_to_how_many() -> None:
    signal = queue_signals(MAX_READY=[2, 12, 30, 80])["queue-grows"]
    assert str(signal.evidence) == "2 jobs were ready at first, 80 at last."
    assert signal.since == NOW - 3 * TEN_MINUTES
    assert queue_signals(MAX_READY=[50, 60, 40, 55]) == {}


def test_waits_above_the_target_and_a_full_queue_are_signals() -> None:
    waits = {"WAIT_MS": [1000, 90_000, 200_000], "STARTED": [10, 10, 10]}
    assert queue_signals(10.0, **waits)["wait-grows"].since == NOW - TEN_MINUTES
    assert queue_signals(None, **waits) == {}
    assert queue_signals(REFUSED_QUEUE_FULL=[0, 4, 0])["queue-full"].until == NOW - TEN_MINUTES
