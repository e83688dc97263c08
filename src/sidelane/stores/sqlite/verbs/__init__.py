"""The verbs of the store contract as functions on a transaction. None of them begins or ends one."""
