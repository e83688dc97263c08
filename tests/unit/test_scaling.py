"""Arithmetic of scaling: properties of every decision, and the cases that it is made for."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidelane.sizing.scaling import DOWN_WINDOW, MAXIMUM, Bounds, Decision, DownWindow, QueueLoad, decide

BOUNDS = Bounds(1, 8)

counts = st.integers(0, 10_000)


def chat(**fields: object) -> QueueLoad:
    return QueueLoad(**{"name": "chat", "target_wait": 10.0, "slots": 4, **fields})  # type: ignore[arg-type]


def of(*loads: QueueLoad, running: int = 0, bounds: Bounds = Bounds(0, 1000), slots: int = 4) -> Decision:  # noqa: B008 - it is frozen
    return decide(loads, bounds, slots=slots, running=running, processes=2)


@st.composite
def loads(draw: Callable[..., object]) -> QueueLoad:
    return chat(
        arrivals=draw(st.floats(0, 1000)), run_time=draw(st.floats(0.001, 3600)), ready=draw(counts), running=draw(counts),
        waiting_for_limit=draw(st.sampled_from([0, 5])), paused=draw(st.booleans()),
        target_wait=draw(st.sampled_from([None, 0.5, 60.0])), share=draw(st.floats(0.01, 1)),
    )  # fmt: skip


@given(st.lists(loads(), max_size=3), st.integers(1, 5), st.integers(0, 20), st.integers(0, 100))
def test_every_decision_is_within_the_bounds_and_never_below_the_busy_processes(
    several: list[QueueLoad], least: int, more: int, running: int
) -> None:
    bounds = Bounds(least, least + more)
    decision = of(*several, running=running, bounds=bounds)
    assert least <= decision.wanted <= bounds.most
    assert decision.wanted >= min(decision.busy, bounds.most)
    assert decision.busy * 4 >= running
    assert decision.predicted_wait >= 0
    assert decision.reason


@given(loads(), st.floats(0, 100), st.integers(0, 1000))
def test_more_arrivals_and_more_ready_jobs_never_want_less(load: QueueLoad, arrivals: float, ready: int) -> None:
    fields = {name: getattr(load, name) for name in load.__slots__}
    more = QueueLoad(**{**fields, "arrivals": load.arrivals + arrivals, "ready": load.ready + ready})
    assert of(more).wanted >= of(load).wanted


@given(st.lists(st.tuples(st.floats(0, 120), st.integers(1, 8)), min_size=1, max_size=60))
def test_a_number_falls_only_to_what_was_enough_for_the_whole_window(steps: list[tuple[float, int]]) -> None:
    window, at, current, seen = DownWindow(), 0.0, 5, [(0.0, 5)]
    for seconds, wanted in steps:
        at += seconds
        seen.append((at, wanted))
        number = window.number(at, wanted, current)
        assert number >= wanted, "more count at once"
        if number < current:
            assert all(each <= number for when, each in seen if when >= at - DOWN_WINDOW)
        current = number


@pytest.mark.parametrize(
    ("load", "wanted"),
    [
        (chat(arrivals=20.0, run_time=0.5), 4),  # 13.3 slots of 4
        (chat(arrivals=1.0, run_time=0.5), 1),
        (chat(ready=400, run_time=1.0), 10),  # 40 slots work it off in ten seconds
        (chat(ready=3, run_time=600.0), 1),  # three jobs need three slots, however long they run
        (chat(ready=600, run_time=1.0, target_wait=None), 1),  # a batch may take ten minutes
        (chat(arrivals=2.0, run_time=1000.0, running=6, ready=0), 2),  # a burst is no rate
        (chat(paused=True, ready=1000, arrivals=50.0), 0),
        (chat(), 0),
    ],
)  # fmt: skip
def test_the_wanted_number_of_typical_loads(load: QueueLoad, wanted: int) -> None:
    assert of(load).wanted == wanted


def test_jobs_that_a_limit_holds_want_no_processes() -> None:
    held = chat(arrivals=50.0, run_time=1.0, running=5, waiting_for_limit=300, limit="openai/openai")
    decision = of(held, running=5, bounds=BOUNDS)
    assert decision.wanted == 2
    assert decision.capped_by == "openai/openai"
    assert decision.reason == "chat: a limit leaves work for 5 slots, limit openai/openai"


def test_a_queue_with_few_slots_in_each_process_wants_more_processes() -> None:
    assert of(chat(arrivals=4.0, run_time=0.75, slots=1), slots=100).wanted == 4


def test_a_group_takes_its_share_of_a_queue_that_others_serve_too() -> None:
    assert of(chat(arrivals=20.0, run_time=0.5, share=0.5)).wanted == 2


def test_what_exceeds_the_maximum_is_said() -> None:
    decision = of(chat(arrivals=1000.0), bounds=BOUNDS)
    assert (decision.wanted, decision.capped_by) == (8, MAXIMUM)
    assert decision.reason.endswith("; at most 8 processes")


def test_a_number_is_held_while_nothing_is_known() -> None:
    window = DownWindow()
    window.hold(0.0, 5)
    window.hold(200.0, 5)
    assert window.number(400.0, 1, 5) == 5
    assert window.number(501.0, 1, 5) == 1


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("8..1", "the least is more than the most; write 1..8"),
        ("0..4", "the least is 1 process, because without one nothing tells what the group serves; write 1..4"),
        ("1..300", "a group has at most 256 processes"),
        ("4", "write the least and the most processes, e.g. 1..8"),
        ("", "write the least and the most processes, e.g. 1..8"),
        ("a..b", "write the least and the most processes, e.g. 1..8"),
        ("-1..3", "write the least and the most processes, e.g. 1..8"),
    ],
)
def test_bounds_that_contradict_are_one_clear_sentence(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace(".", r"\.")):
        Bounds.parse(text)
