"""Frozen values and pure rules: what a job is and what may happen to it. No input or output happens here."""
