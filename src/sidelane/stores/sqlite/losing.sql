-- Losing a lease.
-- Tables: specs.

-- :budget
-- Parameters: seq. Row: how many losses the job survives, whether it may be isolated.
SELECT losses, isolable FROM specs WHERE seq = ?
