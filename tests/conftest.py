"""What holds for every test: where it writes, marks by folder, clouds of its own, no skipping where nobody would notice."""

import os
import shutil
import signal
import time
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:  # their clients take seconds to import, which tests without clouds need not wait for
    from tests.transports.moto import Moto
    from tests.transports.pubsub import RunningPubSub

HERE = Path(__file__).parent

MARKS = {"system": ("system",), "browser": ("browser", "long")}
"""The marks of what lies in a folder."""

ON_REQUEST = ("long", "soak")
"""The marks of what runs only where it is asked for by -m. Who asks for the second may get what has both."""

UNDER_CI = os.environ.get("CI") == "true"

MEMORY = Path("/dev/shm")  # noqa: S108 # pytest makes folders of its own in it
ROOM = 4 * 2**30
"""Bytes that must be free there."""


def pytest_configure(config: pytest.Config) -> None:
    """Have tests write into memory where there is room: they sync as often as ever, and no disk makes them wait for it.

    The monotonic clock begins with the run, as on a machine that has just booted: who compares it with zero fails here.
    """
    clock, booted = time.monotonic, time.monotonic()
    patch = pytest.MonkeyPatch()
    patch.setattr(time, "monotonic", lambda: clock() - booted)
    config.add_cleanup(patch.undo)
    take_interrupts()
    if MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > ROOM:
        os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(MEMORY))


def take_interrupts() -> None:
    """Let SIGINT through to what tests start: a shell has what it starts in the background ignore it, and so would they."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark what lies in tests/system and tests/browser by its folder's name, and leave out what only runs where it is asked for."""
    for item in items:
        if item.path.is_relative_to(HERE):
            for name in MARKS.get(item.path.relative_to(HERE).parts[0], ()):
                item.add_marker(name)
    asked = [name for name in ON_REQUEST if name in config.option.markexpr]
    left_out = ON_REQUEST[ON_REQUEST.index(asked[-1]) + 1 :] if asked else ON_REQUEST
    kept = [item for item in items if not any(map(item.get_closest_marker, left_out))]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Turn a skipped test into a failure under CI=true."""
    report = yield
    expected_to_fail = hasattr(report, "wasxfail")  # pytest reports these as skipped too
    if UNDER_CI and report.skipped and not expected_to_fail:
        fail(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Turn a module that skips itself into a failure under CI=true."""
    report = yield
    if UNDER_CI and report.skipped:
        fail(report)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the figures that tests recorded: how quick, how long, how many."""
    passed = terminalreporter.getreports("passed")
    figures = [f"{name}: {value}" for report in passed for name, value in report.user_properties]
    if figures:
        terminalreporter.section("figures")
        for figure in figures:
            terminalreporter.write_line(figure)


def fail(report: pytest.TestReport | pytest.CollectReport) -> None:
    report.outcome = "failed"
    report.longrepr = f"A skipped test counts as failed under CI=true. It was skipped here: {report.longrepr}"


@pytest.fixture(scope="session")
def moto_server(tmp_path_factory: pytest.TempPathFactory) -> "Iterator[Moto]":
    from tests.transports.moto import Moto

    server = Moto(tmp_path_factory.mktemp("moto")).start()
    yield server
    server.stop()


@pytest.fixture
def moto(moto_server: "Moto", monkeypatch: pytest.MonkeyPatch) -> "Moto":
    """SQS and S3, which this process's AWS clients talk to for as long as the test runs."""
    for name, value in moto_server.environment.items():
        monkeypatch.setenv(name, value)
    return moto_server


@pytest.fixture(scope="session")
def pubsub_server() -> "Iterator[RunningPubSub]":
    from tests.transports.pubsub import RunningPubSub

    with RunningPubSub() as running:
        yield running


@pytest.fixture
def pubsub(pubsub_server: "RunningPubSub", monkeypatch: pytest.MonkeyPatch) -> "Iterator[RunningPubSub]":
    """Pub/Sub, which this process's clients talk to; it behaves well at first and again after the test."""
    for name, value in pubsub_server.environment.items():
        monkeypatch.setenv(name, value)
    yield pubsub_server
    pubsub_server.up()
    pubsub_server.misbehave()
