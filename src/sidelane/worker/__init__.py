"""Execution of jobs: the worker, its fetcher, attempts, heartbeats, child processes and isolation workers."""
