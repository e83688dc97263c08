"""Operators' read models and actions, written once. The CLI and the dashboard only show them."""
