"""The store in one SQLite file: nothing to install, several processes on it at once, durable at each acknowledged step."""
