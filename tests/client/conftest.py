"""Fixtures: lanes on stores of their own."""

from tests.worker.conftest import MakeLane, lane, make_lane

__all__ = ["MakeLane", "lane", "make_lane"]
