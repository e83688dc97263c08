"""The environment of tests, whatever machine and shell the run was started on."""

import signal
import subprocess
import sys
import time

from tests.conftest import take_interrupts


def test_tests_run_as_on_a_machine_that_has_just_booted() -> None:
    assert 0.0 <= time.monotonic() < 3600.0, "tests/conftest.py lets the clock begin with the run"


def test_processes_can_be_interrupted_also_where_the_run_was_started_in_the_background() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as a shell does for what it starts with &
    try:
        take_interrupts()
        interrupted = subprocess.run(
            [sys.executable, "-c", "import signal; signal.raise_signal(signal.SIGINT)"],
            capture_output=True,
            check=False,
        )
    finally:
        signal.signal(signal.SIGINT, before)
    assert b"KeyboardInterrupt" in interrupted.stderr
