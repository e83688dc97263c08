"""Fixtures: lanes on separate stores."""

from tests.worker.conftest import MakeLane, lane, make_lane

__all__ = ["MakeLane", "lane", "make_lane"]
