"""Fixtures: lanes on separate stores, and a project for the command `sidelane`."""

from tests.cli.conftest import driver, project, sidelane
from tests.worker.conftest import MakeLane, lane, make_lane

__all__ = ["MakeLane", "driver", "lane", "make_lane", "project", "sidelane"]
