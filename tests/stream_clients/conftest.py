"""Fixtures of these tests: those of system tests."""

from tests.system.conftest import appendfsync, kind, lease, processes, scenario, server, store, store_url

__all__ = ["appendfsync", "kind", "lease", "processes", "scenario", "server", "store", "store_url"]
