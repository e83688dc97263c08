-- The limits of a job.
-- Tables: specs.

-- :limits
-- Parameters: seq.
SELECT limits FROM specs WHERE seq = ?
