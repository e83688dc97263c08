-- listen: someone listens to jobs now.
-- Tables: jobs, specs.

-- :listen
-- Parameters: id, now.
UPDATE jobs SET abandon_at = ?2 + (SELECT s.abandon_after FROM specs s WHERE s.seq = jobs.seq) WHERE id = ?1 AND state < 3
