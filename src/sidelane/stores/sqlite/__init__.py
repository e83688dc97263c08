"""Store in one SQLite file: no server, several processes, durable once a call returns."""
