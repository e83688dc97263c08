"""Tests of applications: harnesses for a lane, and a pytest fixture of one."""

from sidelane.testing.fixture import testing_fixture
from sidelane.testing.harness import Harness, harness
from sidelane.testing.sync_harness import SyncHarness, sync_harness

__all__ = ["Harness", "SyncHarness", "harness", "sync_harness", "testing_fixture"]
