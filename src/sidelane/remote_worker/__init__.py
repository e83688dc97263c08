"""The remote worker: runs tasks on a machine without access to the store, over messages."""
