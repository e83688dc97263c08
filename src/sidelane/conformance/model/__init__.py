"""A reference model of a store, and a state machine that compares both."""
