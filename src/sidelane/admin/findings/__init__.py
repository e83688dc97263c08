"""Findings: what needs a person, with evidence, cause and one action; their alerts; and which of them are muted."""
