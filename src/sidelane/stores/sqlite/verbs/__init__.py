"""The verbs of the store contract as functions on a transaction. No verb begins or ends a transaction."""
