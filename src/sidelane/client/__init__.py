"""Submitting, reading and following jobs, and the maintenance of a store."""
