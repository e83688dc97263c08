"""Suites that every store and every transport passes, with a reference model."""
