"""Fixtures of browser tests: those of system tests."""

from tests.system.conftest import appendfsync, kind, processes, scenario, server, store, store_url

__all__ = ["appendfsync", "kind", "processes", "scenario", "server", "store", "store_url"]
