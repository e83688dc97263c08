"""Store in one SQLite file, without a server and for several processes. Writes are durable when a call returns."""
