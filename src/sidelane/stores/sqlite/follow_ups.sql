-- Follow-up jobs.
-- Tables: specs.

-- :follow_ups
-- Parameters: seq.
SELECT follow_ups FROM specs WHERE seq = ?
