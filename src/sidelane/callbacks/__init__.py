"""Callbacks: telling someone outside how a job ended."""
