"""Consumers: messages that become jobs."""
