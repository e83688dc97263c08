"""Callbacks: webhooks and messages that tell others how a job ended."""
