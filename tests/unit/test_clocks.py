"""Durations are measured from a moment that was read, never from the zero of a clock."""

import time


def test_tests_run_as_on_a_machine_that_has_just_booted() -> None:
    assert 0.0 <= time.monotonic() < 3600.0, "tests/conftest.py lets the clock begin with the run"
