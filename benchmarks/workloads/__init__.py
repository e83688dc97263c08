"""Workloads, one module each."""
