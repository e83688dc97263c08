"""The verbs of the contract as plain functions on a connection, each beside the SQL it runs.

A verb that writes takes `(connection, now, touched, …)` and fills `touched` with what its commit should hint at; one that only
reads takes `(connection, now, …)`. None of them begins or ends a transaction.
"""
