-- The log of a job.
-- Tables: events.

-- :write
-- Parameters: job, number, epoch, at, name, data.
INSERT INTO events (job, number, epoch, at, name, data) VALUES (?, ?, ?, ?, ?, ?)
