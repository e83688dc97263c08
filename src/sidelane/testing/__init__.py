"""Tests of applications: a harness for a lane, and a pytest fixture of the harness."""

from sidelane.testing.fixture import testing_fixture
from sidelane.testing.harness import Harness, harness

__all__ = ["Harness", "harness", "testing_fixture"]
