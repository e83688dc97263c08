-- Asking running jobs to stop. Queued and handed-over ones are ended by `ending`.
-- Tables: jobs.

-- :ask
-- Parameters: seq.
UPDATE jobs SET cancelling = 1 WHERE seq = ?
